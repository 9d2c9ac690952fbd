//! The two queues of a node and the waker between them and it, whatever they carry.
//!
//! Built with `--cfg loom`, the atomics, the queues and the waker are those of the model checker, which
//! tries every interleaving of threads in the tests below: `cargo xtask loom`.

#[cfg(loom)]
use loom::future::AtomicWaker;
#[cfg(loom)]
use loom::sync::atomic::{AtomicUsize, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

#[cfg(not(loom))]
use atomic_waker::AtomicWaker;
use concurrent_queue::ConcurrentQueue;

/// A capped lane of inputs, an uncapped one of completions, and whom a push wakes.
pub(super) struct Lanes<I, C> {
    inputs: ConcurrentQueue<I>,
    /// Places taken: inputs that wait, and those that are being pushed.
    depth: AtomicUsize,
    capacity: AtomicUsize,
    completions: ConcurrentQueue<C>,
    waker: AtomicWaker,
}

/// Why no place was free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// The lane takes nothing any more.
    Closed,
    /// As many wait as may.
    Full {
        /// How many that is.
        capacity: usize,
    },
}

impl<I, C> Lanes<I, C> {
    #[expect(
        clippy::disallowed_methods,
        reason = "capped by `depth`; a bounded queue allocates all places at once"
    )]
    pub(super) fn new() -> Self {
        Self {
            inputs: ConcurrentQueue::unbounded(),
            depth: AtomicUsize::new(0),
            capacity: AtomicUsize::new(0),
            completions: ConcurrentQueue::unbounded(),
            waker: AtomicWaker::new(),
        }
    }

    pub(super) fn set_capacity(&self, capacity: usize) {
        self.capacity.store(capacity, Ordering::Release);
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity.load(Ordering::Acquire)
    }

    /// Inputs that wait or are being pushed.
    pub(super) fn depth(&self) -> usize {
        self.depth.load(Ordering::Acquire)
    }

    /// Completions that wait.
    pub(super) fn completions(&self) -> usize {
        self.completions.len()
    }

    /// Takes a place, makes the input, puts it there and wakes the node; a place without an input is given back.
    pub(super) fn push<E: From<NoPlace>>(&self, make: impl FnOnce() -> Result<I, E>) -> Result<(), E> {
        self.take_place()?;
        let pushed = make().and_then(|input| self.inputs.push(input).map_err(|_| NoPlace::Closed.into()));
        match &pushed {
            Ok(()) => self.waker.wake(),
            Err(_) => {
                self.depth.fetch_sub(1, Ordering::AcqRel);
            }
        }
        pushed
    }

    /// Puts a completion into its lane and wakes the node; `false` if the lane is closed.
    pub(super) fn complete(&self, completion: C) -> bool {
        let pushed = self.completions.push(completion).is_ok();
        if pushed {
            self.waker.wake();
        }
        pushed
    }

    /// Whom the next push wakes. To be called before the lanes are emptied.
    pub(super) fn register(&self, waker: &Waker) {
        #[cfg(not(loom))]
        self.waker.register(waker);
        #[cfg(loom)]
        self.waker.register_by_ref(waker);
    }

    pub(super) fn pop(&self) -> Option<I> {
        let input = self.inputs.pop().ok()?;
        self.depth.fetch_sub(1, Ordering::AcqRel);
        Some(input)
    }

    /// Takes the oldest input out of its lane; its place stays taken until [`Lanes::free_places`].
    pub(super) fn pop_keeping_place(&self) -> Option<I> {
        self.inputs.pop().ok()
    }

    /// Gives back places whose inputs were taken out before.
    pub(super) fn free_places(&self, count: usize) {
        self.depth.fetch_sub(count, Ordering::AcqRel);
    }

    /// Takes places for inputs that were accepted before, whatever the cap.
    pub(super) fn keep_places(&self, count: usize) {
        self.depth.fetch_add(count, Ordering::AcqRel);
    }

    pub(super) fn pop_completion(&self) -> Option<C> {
        self.completions.pop().ok()
    }

    /// Whether anything waits in either lane.
    pub(super) fn has_work(&self) -> bool {
        !self.inputs.is_empty() || !self.completions.is_empty()
    }

    /// Takes no more inputs, and wakes the node; whether it took some before.
    pub(super) fn close_inputs(&self) -> bool {
        let was_open = self.inputs.close();
        self.waker.wake();
        was_open
    }

    /// Takes no more completions.
    pub(super) fn close_completions(&self) {
        self.completions.close();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.inputs.is_closed()
    }

    fn take_place(&self) -> Result<(), NoPlace> {
        if self.inputs.is_closed() {
            return Err(NoPlace::Closed);
        }
        let capacity = self.capacity.load(Ordering::Acquire);
        self.depth
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |depth| {
                (depth < capacity).then_some(depth + 1)
            })
            .map(|_| ())
            .map_err(|_| NoPlace::Full { capacity })
    }
}

#[cfg(all(test, loom))]
mod tests {
    use std::sync::Arc;
    use std::task::Poll;

    use loom::future::block_on;
    use loom::thread;

    use super::{Lanes, NoPlace};

    type Numbers = Lanes<u32, u32>;

    fn lanes(capacity: usize) -> Arc<Numbers> {
        let lanes = Numbers::new();
        lanes.set_capacity(capacity);
        Arc::new(lanes)
    }

    /// Waits as a node does: registers, works, sleeps only if nothing is left. The future ends when `count` came.
    async fn take(lanes: &Numbers, count: usize) -> Vec<u32> {
        let mut taken = Vec::new();
        std::future::poll_fn(|cx| {
            loop {
                lanes.register(cx.waker());
                while let Some(number) = lanes.pop().or_else(|| lanes.pop_completion()) {
                    taken.push(number);
                }
                if taken.len() >= count || lanes.is_closed() && !lanes.has_work() {
                    return Poll::Ready(());
                }
                if !lanes.has_work() {
                    return Poll::Pending;
                }
            }
        })
        .await;
        taken
    }

    #[test]
    fn a_sleeping_node_misses_no_push() {
        loom::model(|| {
            let lanes = lanes(4);
            let pushing = Arc::clone(&lanes);
            let pusher = thread::spawn(move || pushing.push(|| Ok::<_, NoPlace>(7)));
            let taken = block_on(take(&lanes, 1));
            assert_eq!(taken, [7]);
            assert_eq!(pusher.join().unwrap(), Ok(()));
            assert_eq!(lanes.depth(), 0);
        });
    }

    #[test]
    fn both_lanes_wake_the_node() {
        loom::model(|| {
            let lanes = lanes(4);
            let (pushing, completing) = (Arc::clone(&lanes), Arc::clone(&lanes));
            let pusher = thread::spawn(move || pushing.push(|| Ok::<_, NoPlace>(1)));
            let completer = thread::spawn(move || completing.complete(2));
            let mut taken = block_on(take(&lanes, 2));
            taken.sort_unstable();
            assert_eq!(taken, [1, 2]);
            assert!(pusher.join().unwrap().is_ok() && completer.join().unwrap());
        });
    }

    #[test]
    fn the_cap_holds_between_threads() {
        loom::model(|| {
            let lanes = lanes(1);
            let pushing = Arc::clone(&lanes);
            let pusher = thread::spawn(move || pushing.push(|| Ok::<_, NoPlace>(1)).is_ok());
            let own = lanes.push(|| Ok::<_, NoPlace>(2)).is_ok();
            assert!(lanes.depth() <= 1, "{} places of 1 are taken", lanes.depth());
            let others = pusher.join().unwrap();
            assert!(own || others, "one of two pushes finds the place free");
            assert!(!(own && others), "two inputs wait in one place");
            assert_eq!(lanes.depth(), 1);
        });
    }

    #[test]
    fn closing_wakes_and_what_was_accepted_is_still_taken() {
        loom::model(|| {
            let lanes = lanes(4);
            let (pushing, closing) = (Arc::clone(&lanes), Arc::clone(&lanes));
            let pusher = thread::spawn(move || pushing.push(|| Ok::<_, NoPlace>(1)));
            let closer = thread::spawn(move || closing.close_inputs());
            let mut taken = block_on(take(&lanes, usize::MAX));
            assert!(closer.join().unwrap());
            let pushed = pusher.join().unwrap();
            taken.extend(lanes.pop());
            assert_eq!(taken.len(), usize::from(pushed.is_ok()), "{pushed:?}");
            assert_eq!(lanes.depth(), 0);
        });
    }

    #[test]
    fn a_place_whose_input_cannot_be_made_is_given_back() {
        loom::model(|| {
            let lanes = lanes(1);
            let pushing = Arc::clone(&lanes);
            let pusher = thread::spawn(move || pushing.push(|| Err::<u32, _>(NoPlace::Closed)));
            assert_eq!(pusher.join().unwrap(), Err(NoPlace::Closed));
            assert_eq!(lanes.push(|| Ok::<_, NoPlace>(1)), Ok(()));
        });
    }
}
