package workers

import "sync"

// crew does pieces of work, each in a goroutine of its own as long as there are no more than most, and in as
// few as that takes: a goroutine wakes the next one only if there is more to do when it begins. They stay: a new
// one for each piece would spend its time growing its stack.
type crew[T any] struct {
	do   func(T)
	most int

	mu      sync.Mutex
	wake    sync.Cond // with mu: there is work, or it is over
	todo    []T
	next    int // of todo
	size    int // goroutines
	idle    int // of them those that wait
	stopped bool
	wg      sync.WaitGroup
}

func newCrew[T any](most int, do func(T)) *crew[T] {
	c := &crew[T]{do: do, most: most}
	c.wake.L = &c.mu
	return c
}

// hand gives work to the crew, and returns at once. How much may be waiting is bounded by who hands it.
func (c *crew[T]) hand(work ...T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.todo = append(c.todo, work...)
	c.call()
}

// spare is how much more work would be begun at once.
func (c *crew[T]) spare() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(c.most-c.size+c.idle-(len(c.todo)-c.next), 0)
}

// call has one more goroutine look, if there is work.
func (c *crew[T]) call() {
	switch {
	case c.next == len(c.todo):
	case c.idle > 0:
		c.wake.Signal()
	case c.size < c.most:
		c.size++
		c.wg.Go(c.run)
	}
}

func (c *crew[T]) run() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for c.next == len(c.todo) {
			if c.stopped {
				return
			}
			c.idle++
			c.wake.Wait()
			c.idle--
		}
		work := c.pop()
		c.call()
		c.mu.Unlock()
		c.do(work)
		c.mu.Lock()
	}
}

// pop takes the oldest piece. What was taken is not kept, also while there always is more: the list is moved up once half of it was taken.
func (c *crew[T]) pop() T {
	var none T
	work := c.todo[c.next]
	c.todo[c.next] = none
	if c.next++; 2*c.next >= len(c.todo) {
		left := copy(c.todo, c.todo[c.next:])
		clear(c.todo[left:])
		c.todo, c.next = c.todo[:left], 0
	}
	return work
}

// stop returns when all work that was handed over is done.
func (c *crew[T]) stop() {
	c.mu.Lock()
	c.stopped = true
	c.wake.Broadcast()
	c.mu.Unlock()
	c.wg.Wait()
}
