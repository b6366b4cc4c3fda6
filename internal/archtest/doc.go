// Package archtest holds the rules about the shape of the source tree as tests:
// who may import whom, where third-party packages may be used, that every package
// says what it is for, and that no package has an init function.
package archtest
