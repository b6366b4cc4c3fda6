package source

import "time"

// SourceStatus is the state of one source.
type SourceStatus struct {
	// Name is the source without secrets.
	Name string `json:"name"`
	// OK means that the last look at the source found it readable.
	OK bool `json:"ok"`
	// Rules is the number of its rules that are in force or refused.
	Rules int `json:"rules"`
	// Revision identifies what was read from a remote repository: an entity tag, a
	// commit.
	Revision string `json:"revision,omitempty"`
	// ReadAt is when the source was last read; zero: not since the start, so that its
	// rules are those of the copy on disk, if there was one.
	ReadAt time.Time `json:"read_at,omitzero"`
	// Error says why it is not OK.
	Error string `json:"error,omitempty"`
}

// sourceStatus returns the states of all sources; l.mu is held.
func (l *Loader) sourceStatus() []SourceStatus {
	all := l.all()
	list := make([]SourceStatus, len(all))
	for i, s := range all {
		st := SourceStatus{Name: s.name, OK: len(s.faults) == 0, Revision: s.revision, ReadAt: s.readAt}
		for _, g := range s.units {
			st.Rules += g.rules.Len()
		}
		if !st.OK {
			st.Error = s.faults[0].Message
		}
		list[i] = st
	}
	return list
}
