package sql

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"sync/atomic"
)

// maxBatch bounds how many writes share one transaction.
const maxBatch = 256

var errClosed = errors.New("the store is closed")

// committer is the one writer of SQLite. It takes the writes that wait, runs them
// in one transaction, each in its own savepoint, and commits once: while the disk
// syncs one batch, the next gathers. A write is answered after the commit, and one
// that fails takes no other with it.
type committer struct {
	pool *sql.DB
	conn *sql.Conn
	run  runner
	// gate shuts readers out while a batch runs; nil where they may read the past.
	gate *sync.RWMutex
	jobs chan *job
	done chan struct{}

	mu     sync.RWMutex // held shared while a job is queued
	closed bool
}

type job struct {
	work func(*tx) error
	// taken is set by the committer when it begins the work, or by a caller who gives
	// up first.
	taken  atomic.Bool
	answer chan error
}

func newCommitter(ctx context.Context, pool *sql.DB, gate *sync.RWMutex, d *dialect) (*committer, error) {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	c := &committer{
		pool: pool, conn: conn, gate: gate,
		run:  runner{session: conn, dialect: d, statements: newStatements(conn)},
		jobs: make(chan *job, maxBatch), done: make(chan struct{}),
	}
	go c.loop()
	return c, nil
}

// submit waits for the work's commit. When ctx ends before the work has begun, it
// never runs; once begun its outcome is waited for, so the answer is always true.
func (c *committer) submit(ctx context.Context, work func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &job{work: work, answer: make(chan error, 1)}
	if err := c.queue(ctx, j); err != nil {
		return err
	}
	select {
	case err := <-j.answer:
		return err
	case <-ctx.Done():
		if j.taken.CompareAndSwap(false, true) {
			return ctx.Err()
		}
		return <-j.answer
	}
}

func (c *committer) queue(ctx context.Context, j *job) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return errClosed
	}
	select {
	case c.jobs <- j:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close lets the queued writes finish.
func (c *committer) close() error {
	c.mu.Lock()
	already := c.closed
	c.closed = true
	c.mu.Unlock()
	if !already {
		close(c.jobs)
	}
	<-c.done
	if already {
		return nil
	}
	c.run.statements.close()
	return errors.Join(c.conn.Close(), c.pool.Close())
}

func (c *committer) loop() {
	defer close(c.done)
	batch := make([]*job, 0, maxBatch)
	for first := range c.jobs {
		batch = append(batch[:0], first)
	gather:
		for len(batch) < maxBatch {
			select {
			case next, open := <-c.jobs:
				if !open {
					break gather
				}
				batch = append(batch, next)
			default:
				break gather
			}
		}
		c.commit(batch)
	}
}

// commit runs a batch and answers it.
func (c *committer) commit(batch []*job) {
	ctx := context.Background() // a caller who leaves must not interrupt the others
	if c.gate != nil {
		c.gate.Lock()
		defer c.gate.Unlock()
	}
	begun := batch[:0]
	for _, j := range batch {
		if j.taken.CompareAndSwap(false, true) {
			begun = append(begun, j)
		}
	}
	if len(begun) == 0 {
		return
	}
	failed := make([]error, len(begun))
	err := c.transaction(ctx, begun, failed)
	for i, j := range begun {
		if failed[i] == nil {
			failed[i] = err
		}
		j.answer <- failed[i]
	}
}

// transaction returns the error that undid the whole batch, or sets failed per job.
func (c *committer) transaction(ctx context.Context, batch []*job, failed []error) error {
	if err := c.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	for i, j := range batch {
		if err := c.savepoint(ctx, j, len(batch) > 1, &failed[i]); err != nil {
			return errors.Join(err, c.exec(ctx, "ROLLBACK"))
		}
	}
	end := "COMMIT"
	if len(batch) == 1 && failed[0] != nil {
		end = "ROLLBACK"
	}
	if err := c.exec(ctx, end); err != nil {
		// After some errors (disk full, I/O) SQLite has rolled back itself, and this
		// rollback fails: either way no transaction is left open.
		_ = c.exec(ctx, "ROLLBACK")
		return err
	}
	return nil
}

// savepoint runs one job; an error means that the transaction is lost.
func (c *committer) savepoint(ctx context.Context, j *job, shared bool, failed *error) error {
	t := &tx{ctx: ctx, run: c.run}
	if !shared {
		*failed = j.work(t)
		return nil
	}
	if err := c.exec(ctx, "SAVEPOINT job"); err != nil {
		return err
	}
	if *failed = j.work(t); *failed != nil {
		if err := c.exec(ctx, "ROLLBACK TO job"); err != nil {
			return err
		}
	}
	return c.exec(ctx, "RELEASE job")
}

func (c *committer) exec(ctx context.Context, query string) error {
	_, err := c.run.exec(ctx, query)
	return err
}
