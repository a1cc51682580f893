// SPDX-License-Identifier: Apache-2.0

package agent

// Waiting is how many changes wait for the lock.
func (t *Together) Waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.waiting)
}
