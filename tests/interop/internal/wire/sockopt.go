package wire

import (
	"context"
	"syscall"
)

// setReceiveBuffer returns a dialer control that sets SO_RCVBUF before the
// connection is made, so that the window is small from the first segment.
func setReceiveBuffer(size int) func(context.Context, string, string, syscall.RawConn) error {
	if size == 0 {
		return nil
	}
	return func(_ context.Context, _, _ string, rc syscall.RawConn) error {
		var err error
		if cerr := rc.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, size)
		}); cerr != nil {
			return cerr
		}
		return err
	}
}
