// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// lintian asks Debian's own judge of packages, on this machine.
func (t *test) lintian(ctx context.Context) {
	deb := filepath.Join(t.Dir, "weft.deb")
	out, err := exec.CommandContext(ctx, "lintian", "--allow-root", "--fail-on", "error,warning", deb).CombinedOutput()
	fmt.Printf("# lintian weft.deb\n%s", out)
	t.Check(err == nil && !strings.Contains(string(out), "E: "), "lintian finds no error and no warning")
	out, err = exec.CommandContext(ctx, "dpkg-deb", "--field", deb, "Version", "Architecture", "Depends", "Recommends", "Installed-Size").CombinedOutput()
	fmt.Printf("# dpkg-deb --field weft.deb\n%s", out)
	t.Check(err == nil, "its control file is readable")
}
