// Command load measures what one request costs the server process: user and system
// CPU time from /proc and, where perf counts them, user-space instructions, under
// load by wrk.
//
// Machines differ and ratios do not, so every case is printed as a ratio of user
// cost (instructions where they are counted, else CPU time) and of all CPU time to a
// reference: a bare tuned httputil.ReverseProxy or a bare net/http handler. All cases
// are measured in rounds, references included, and medians are printed, because a
// machine that is shared is not the same from one minute to the next.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"time"
)

func main() {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "upstream", "handler":
			exit(serveBytes(os.Args[2]))
		case "tuned", "plain":
			exit(serveProxy(os.Args[2], os.Args[3], os.Args[1] == "tuned"))
		}
	}
	var l load
	flag.StringVar(&l.binary, "binary", "bin/gatewarden", "the program to measure")
	flag.DurationVar(&l.duration, "duration", 3*time.Second, "time of load for each case and round, in whole seconds")
	flag.IntVar(&l.rounds, "rounds", 5, "rounds")
	flag.IntVar(&l.connections, "connections", 64, "connections")
	flag.StringVar(&l.postgres, "postgres", os.Getenv("TEST_POSTGRES_DSN"), "DSN of an empty PostgreSQL database; empty: not measured")
	flag.IntVar(&l.requests, "requests", 5000, "requests for each case whose instructions are counted under emulation")
	instructionsOnly := flag.Bool("instructions", false, "only count instructions under emulation; needs qemu-user and a C compiler, not wrk")
	flag.IntVar(&l.functions, "functions", 0, "print so many functions that took most instructions, for each case that is counted")
	only := flag.String("only", "", "run the cases whose name matches this pattern, beside the references")
	flag.Parse()
	pattern, err := regexp.Compile(*only)
	if err != nil {
		exit(err)
	}
	l.only = pattern
	exit(l.run(*instructionsOnly))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
