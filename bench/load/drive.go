package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// drive sends count requests of c over kept connections, each of which sends its next
// request when it has the answer.
func drive(c kase, connections, count int) error {
	var next atomic.Int64
	var wait sync.WaitGroup
	failed := make(chan error, connections)
	for range connections {
		wait.Go(func() {
			if err := driveOne(c, &next, count); err != nil {
				failed <- err
			}
		})
	}
	wait.Wait()
	close(failed)
	return <-failed
}

func driveOne(c kase, next *atomic.Int64, count int) error {
	conn, err := net.Dial("tcp", c.at.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	var request []byte
	for n := int(next.Add(1)); n <= count; n = int(next.Add(1)) {
		_ = conn.SetDeadline(time.Now().Add(time.Minute)) // a net.Conn of TCP has deadlines
		request = c.appendRequest(request[:0], n)
		if _, err := conn.Write(request); err != nil {
			return err
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return err
		}
		res.Body.Close()
		if res.StatusCode/100 != 2 {
			return fmt.Errorf("%s answers %s", c.at.address, res.Status)
		}
	}
	return nil
}

// counted is what one request of a case cost.
type counted struct {
	instructions float64 // thousands
	functions    profile // instructions
}

// count counts the user instructions of requests of c. What the process does without
// requests is taken off: it does it by the clock, and under emulation a request takes
// much of that.
func (l *load) count(c kase) (counted, error) {
	const connections = 16
	// Every path once, since the first request of a rule makes its metrics.
	if err := drive(c, connections, max(l.requests/5, connections, c.spread)); err != nil {
		return counted{}, err
	}
	start := time.Now()
	idle, err := instructions(c.at.counts)
	if err != nil {
		return counted{}, err
	}
	time.Sleep(time.Second)
	before, err := instructions(c.at.counts)
	if err != nil {
		return counted{}, err
	}
	functionsBefore, err := profileOf(c.at.counts, c.at.functions)
	if err != nil {
		return counted{}, err
	}
	began := time.Now()
	if err := drive(c, connections, l.requests); err != nil {
		return counted{}, err
	}
	took := time.Since(began)
	after, err := instructions(c.at.counts)
	if err != nil {
		return counted{}, err
	}
	beside := float64(before-idle) * float64(took) / float64(began.Sub(start))
	functions, err := profileOf(c.at.counts, c.at.functions)
	return counted{
		instructions: (float64(after-before) - beside) / float64(l.requests) / 1000,
		functions:    functions.since(functionsBefore, l.requests),
	}, err
}
