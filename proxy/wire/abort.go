package wire

// Abort breaks the response off: a Read that waits fails, and the connection is not
// used again. It may be called from another goroutine, before Close only.
func (r *Response) Abort() { _ = r.conn.Conn.Close() }
