// Package archtest holds the rules about the shape of the source tree as tests: who
// may import whom, where third-party packages may be used, that every package says
// what it is for, that no package has an init function, and that the documents name
// the packages, dependencies and tests that there are.
package archtest
