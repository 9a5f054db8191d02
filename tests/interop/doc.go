// Package interop tests a DERP server process with the clients of the
// reference implementation. See README.md.
package interop
