package wire

import (
	"sync"
	"time"
)

// pool keeps idle connections by address, the last used first.
type pool struct {
	most    int
	timeout time.Duration

	mu     sync.Mutex
	idle   map[string][]*conn
	timer  *time.Timer // runs while there are idle connections
	closed bool
}

// take returns a kept connection that is open and silent, or nil.
func (p *pool) take(address string) *conn {
	for {
		p.mu.Lock()
		kept := p.idle[address]
		if len(kept) == 0 {
			p.mu.Unlock()
			return nil
		}
		k := kept[len(kept)-1]
		kept[len(kept)-1] = nil
		p.idle[address] = kept[:len(kept)-1]
		p.mu.Unlock()
		if k.probe.isSilent() {
			return k
		}
		k.Close()
	}
}

func (p *pool) put(k *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle[k.address]) >= p.most {
		k.Close()
		return
	}
	p.idle[k.address] = append(p.idle[k.address], k)
	if p.timer == nil {
		p.timer = time.AfterFunc(p.timeout, p.expire)
	}
}

// expire closes what was idle for too long; the oldest come first.
func (p *pool) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = nil
	if p.closed {
		return
	}
	limit := time.Now().Add(-p.timeout)
	for address, kept := range p.idle {
		n := 0
		for n < len(kept) && !kept[n].since.After(limit) {
			kept[n].Close()
			n++
		}
		if n == len(kept) {
			delete(p.idle, address)
			continue
		}
		p.idle[address] = append(kept[:0:0], kept[n:]...)
	}
	if len(p.idle) > 0 {
		p.timer = time.AfterFunc(p.timeout/2, p.expire)
	}
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
	for _, kept := range p.idle {
		for _, k := range kept {
			k.Close()
		}
	}
	clear(p.idle)
}
