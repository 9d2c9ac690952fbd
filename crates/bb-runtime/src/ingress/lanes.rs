//! The two queues of a node and the waker between them and it, whatever they carry.
//!
//! Built with `--cfg loom`, the atomics, the locks, the queues and the waker are those of the model checker, which
//! tries every interleaving of threads in the tests below: `cargo xtask loom`.

#[cfg(loom)]
use loom::future::AtomicWaker;
#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
#[cfg(loom)]
use loom::sync::{Mutex, MutexGuard};
use std::hash::{BuildHasher, RandomState};
use std::sync::PoisonError;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
#[cfg(not(loom))]
use std::sync::{Mutex, MutexGuard};
use std::task::Waker;

#[cfg(not(loom))]
use atomic_waker::AtomicWaker;
use bb_framework::FairQueue;
pub(super) use bb_framework::fair_queue::NoPlace;
use concurrent_queue::ConcurrentQueue;

use super::Sender;

/// A capped lane of inputs, in which senders are served in turn, an uncapped one of completions, and whom a push wakes.
pub(super) struct Lanes<I, C> {
    inputs: Mutex<Inputs<I>>,
    // What the lock guards, to be read without it.
    taken: AtomicUsize,
    waiting: AtomicUsize,
    capacity: AtomicUsize,
    is_closed: AtomicBool,
    /// What the sender hashes to that had too many places last, until inputs are taken; 0 for none. Who presses on all the
    /// same is refused by it without the lock, which the others need.
    over_share: AtomicU64,
    hasher: RandomState,
    completions: ConcurrentQueue<C>,
    waker: AtomicWaker,
}

/// What the lock of the inputs guards.
pub(super) struct Inputs<I> {
    pub(super) queue: FairQueue<Sender, I>,
    is_closed: bool,
}

/// Why nothing was put into the lane of inputs.
#[derive(Debug)]
pub(super) enum Refused {
    /// The lane takes nothing any more.
    Closed,
    /// There is no place.
    NoPlace(NoPlace),
}

impl<I, C> Lanes<I, C> {
    #[expect(
        clippy::disallowed_methods,
        reason = "there is one completion an op that waits, which are capped; a bounded queue allocates all places at once"
    )]
    pub(super) fn new() -> Self {
        Self {
            inputs: Mutex::new(Inputs { queue: FairQueue::new(0), is_closed: false }),
            taken: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            capacity: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            over_share: AtomicU64::new(0),
            hasher: RandomState::new(),
            completions: ConcurrentQueue::unbounded(),
            waker: AtomicWaker::new(),
        }
    }

    pub(super) fn set_capacity(&self, capacity: usize) {
        self.free_places(|inputs| inputs.queue.set_capacity(capacity));
        self.capacity.store(capacity, Ordering::Release);
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity.load(Ordering::Acquire)
    }

    /// Inputs that wait or are being pushed.
    pub(super) fn depth(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    /// Completions that wait.
    pub(super) fn completions(&self) -> usize {
        self.completions.len()
    }

    /// Takes a place, makes the input and its cost, puts it there and wakes the node; a place without an input is given
    /// back. The lock is not held while the input is made.
    pub(super) fn push<E: From<Refused>>(
        &self,
        sender: Sender,
        make: impl FnOnce() -> Result<(usize, I), E>,
    ) -> Result<(), E> {
        let hash = self.hasher.hash_one(sender) | 1;
        if self.over_share.load(Ordering::Acquire) == hash {
            let capacity = self.capacity();
            return Err(Refused::NoPlace(NoPlace::Share { taken: self.depth(), capacity }).into());
        }
        self.with_inputs(|inputs| {
            if inputs.is_closed {
                return Err(Refused::Closed);
            }
            let reserved = match sender {
                Some(_) => inputs.queue.reserve(sender),
                None => inputs.queue.reserve_for_host(sender),
            };
            if matches!(reserved, Err(NoPlace::Share { .. })) {
                self.over_share.store(hash, Ordering::Release);
            }
            reserved.map_err(Refused::NoPlace)
        })?;
        let made = make();
        let pushed = self.with_inputs(|inputs| {
            let error = match made {
                Ok((cost, input)) if !inputs.is_closed => {
                    inputs.queue.push(sender, cost, input);
                    return Ok(());
                }
                Ok(_) => Refused::Closed.into(),
                Err(error) => error,
            };
            inputs.queue.release(sender);
            self.over_share.store(0, Ordering::Release);
            Err(error)
        });
        if pushed.is_ok() {
            self.waker.wake();
        }
        pushed
    }

    /// Looks at the inputs, or changes them, while nobody else does.
    pub(super) fn with_inputs<R>(&self, work: impl FnOnce(&mut Inputs<I>) -> R) -> R {
        let mut inputs: MutexGuard<'_, _> = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        let done = work(&mut inputs);
        self.taken.store(inputs.queue.taken(), Ordering::Release);
        self.waiting.store(inputs.queue.len(), Ordering::Release);
        done
    }

    /// [`Lanes::with_inputs`], after which every sender may find places again.
    pub(super) fn free_places<R>(&self, work: impl FnOnce(&mut Inputs<I>) -> R) -> R {
        self.with_inputs(|inputs| {
            let done = work(inputs);
            self.over_share.store(0, Ordering::Release);
            done
        })
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

    /// Wakes the node for what came by another way.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    pub(super) fn pop_completion(&self) -> Option<C> {
        self.completions.pop().ok()
    }

    /// Inputs that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Whether anything waits in either lane.
    pub(super) fn has_work(&self) -> bool {
        self.waiting() > 0 || !self.completions.is_empty()
    }

    /// Takes no more inputs, and wakes the node; whether it took some before.
    pub(super) fn close_inputs(&self) -> bool {
        let was_closed = self.free_places(|inputs| std::mem::replace(&mut inputs.is_closed, true));
        self.is_closed.store(true, Ordering::Release);
        self.waker.wake();
        !was_closed
    }

    /// Takes no more completions.
    pub(super) fn close_completions(&self) {
        self.completions.close();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }
}

#[cfg(all(test, loom))]
mod tests {
    use std::sync::Arc;
    use std::task::Poll;

    use loom::future::block_on;
    use loom::thread;

    use super::{Lanes, Refused};

    type Numbers = Lanes<u32, u32>;

    /// Pushes an input of the host.
    fn push(lanes: &Numbers, number: u32) -> bool {
        lanes.push(None, || Ok::<_, Refused>((1, number))).is_ok()
    }

    /// Takes the input whose turn it is.
    fn pop(lanes: &Numbers) -> Option<u32> {
        let mut taken = None;
        lanes.free_places(|inputs| inputs.queue.serve(1, |turn| taken = Some(turn.item)));
        taken
    }

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
                while let Some(number) = pop(lanes).or_else(|| lanes.pop_completion()) {
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
            let pusher = thread::spawn(move || push(&pushing, 7));
            let taken = block_on(take(&lanes, 1));
            assert_eq!(taken, [7]);
            assert!(pusher.join().unwrap());
            assert_eq!(lanes.depth(), 0);
        });
    }

    #[test]
    fn both_lanes_wake_the_node() {
        loom::model(|| {
            let lanes = lanes(4);
            let (pushing, completing) = (Arc::clone(&lanes), Arc::clone(&lanes));
            let pusher = thread::spawn(move || push(&pushing, 1));
            let completer = thread::spawn(move || completing.complete(2));
            let mut taken = block_on(take(&lanes, 2));
            taken.sort_unstable();
            assert_eq!(taken, [1, 2]);
            assert!(pusher.join().unwrap() && completer.join().unwrap());
        });
    }

    #[test]
    fn the_cap_holds_between_threads() {
        loom::model(|| {
            let lanes = lanes(1);
            let pushing = Arc::clone(&lanes);
            let pusher = thread::spawn(move || push(&pushing, 1));
            let own = push(&lanes, 2);
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
            let pusher = thread::spawn(move || push(&pushing, 1));
            let closer = thread::spawn(move || closing.close_inputs());
            let mut taken = block_on(take(&lanes, usize::MAX));
            assert!(closer.join().unwrap());
            let pushed = pusher.join().unwrap();
            taken.extend(pop(&lanes));
            assert_eq!(taken.len(), usize::from(pushed));
            assert_eq!(lanes.depth(), 0);
        });
    }

    #[test]
    fn a_place_whose_input_cannot_be_made_is_given_back() {
        loom::model(|| {
            let lanes = lanes(1);
            let pushing = Arc::clone(&lanes);
            let fail = || Err(Refused::Closed);
            let pusher = thread::spawn(move || pushing.push(None, fail).is_ok());
            assert!(!pusher.join().unwrap());
            assert!(push(&lanes, 1));
        });
    }
}
