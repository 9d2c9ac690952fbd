//! A queue that many senders share: each has a line of its own, and the lines are served in turn.
//!
//! This is deficit round robin (M. Shreedhar, G. Varghese: Efficient Fair Queuing Using Deficit Round-Robin, 1995) behind
//! a threshold that falls as the queue fills (A. Choudhury, E. Hahne: Dynamic Queue Length Thresholds for Shared-Memory
//! Packet Switches, 1998).

use std::collections::{TryReserveError, VecDeque};

use thiserror::Error;

/// Places that one sender may take for each place that is still free.
pub const PLACES_A_FREE_PLACE: usize = 4;

/// One place in so many is for senders that have none yet.
pub const PLACES_A_FIRST_PLACE: usize = 32;

/// A line of more items is long.
pub const LONG_LINE: usize = 64;

/// What a line may spend more each time its turn is over: an item of cost 1.
const QUANTUM: usize = UNIT;

/// The same of a long line: who has sent so much ahead is not waiting to be served before it sends more.
const QUANTUM_OF_LONG: usize = 1;

/// What an item of cost 1 costs.
const UNIT: usize = 4;

/// An empty queue that has more places than this gives them back.
const KEPT: usize = 64;

/// No slot, no line.
const NONE: u32 = u32::MAX;

/// Items of many senders, in order within each sender, and fair between them.
///
/// An item takes its place first, by [`reserve`](Self::reserve), and comes or gives it back then. A sender may take
/// [`PLACES_A_FREE_PLACE`] places for each that is free, which is four fifths of the queue for one and less for each of
/// many; and one place in [`PLACES_A_FIRST_PLACE`] is only for senders that have none. So however much some send, there
/// is a place for the first item of another. While shorter lines wait, one of more than [`LONG_LINE`] items gets a quarter
/// of what each of them gets.
///
/// - look: [`len`](Self::len) [`is_empty`](Self::is_empty) [`taken`](Self::taken) [`taken_by`](Self::taken_by)
///   [`senders`](Self::senders) [`capacity`](Self::capacity) [`iter`](Self::iter)
/// - feed: [`reserve`](Self::reserve) [`reserve_for_host`](Self::reserve_for_host) [`push`](Self::push)
///   [`release`](Self::release)
/// - command: [`set_capacity`](Self::set_capacity) [`set_credit`](Self::set_credit) [`take_all`](Self::take_all)
/// - drive: [`serve`](Self::serve)
///
/// ```
/// use bb_framework::FairQueue;
/// let mut queue = FairQueue::new(100);
/// for (sender, item) in [("loud", 1), ("loud", 2), ("loud", 3), ("quiet", 4)] {
///     queue.reserve(sender)?;
///     queue.push(sender, 1, item);
/// }
/// let mut served = Vec::new();
/// queue.serve(10, |turn| served.push(turn.item));
/// assert_eq!(served, [1, 4], "the quiet one has been heard, so this service ends");
/// queue.serve(10, |turn| served.push(turn.item));
/// assert_eq!(served, [1, 4, 2, 3]);
/// # Ok::<(), bb_framework::fair_queue::NoPlace>(())
/// ```
#[derive(Clone, Debug)]
pub struct FairQueue<K, T> {
    capacity: usize,
    slots: Vec<Slot<T>>,
    free_slots: u32,
    lines: Vec<Line<K>>,
    free_lines: u32,
    /// The lines in use, in the order of their senders.
    order: Vec<u32>,
    /// Lines that have items; the first has the turn.
    turns: VecDeque<u32>,
    len: usize,
    taken: usize,
    /// Which service this is, so that a line knows whether it was met in it.
    service: u64,
}

/// Why there is no place.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoPlace {
    /// Memory for it could not be had.
    #[error("no memory for a place in the queue: {0}; try again when other work is done")]
    Allocation(#[from] TryReserveError),
    /// All are taken.
    #[error("all {capacity} places of the queue are taken; try again when some were served")]
    Full {
        /// How many there are.
        capacity: usize,
    },
    /// The sender has as many as it may.
    #[error("the sender has {taken} of {capacity} places already; try again when some were served")]
    Share {
        /// How many it has.
        taken: usize,
        /// How many there are.
        capacity: usize,
    },
}

/// An item whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn<K, T> {
    /// Who sent it.
    pub sender: K,
    /// How many items of its sender waited when this service met the first of them.
    pub of_sender: usize,
    /// The item.
    pub item: T,
}

#[derive(Clone, Debug)]
struct Slot<T> {
    item: Option<(usize, T)>,
    next: u32,
}

#[derive(Clone, Debug)]
struct Line<K> {
    sender: K,
    /// Its first slot; of a line that is not in use, the next such line.
    first: u32,
    last: u32,
    len: usize,
    /// Places of items that are to come.
    reserved: usize,
    credit: usize,
    /// The service that met it last, and its length then.
    met: (u64, usize),
}

impl<K: Ord + Copy, T> FairQueue<K, T> {
    /// A queue of at most `capacity` places.
    ///
    /// Evicts nothing: the newest item is refused. Holds at most [`worst_case_bytes`](Self::worst_case_bytes) beside what
    /// the items hold, and nothing while it was never used.
    pub const fn new(capacity: usize) -> Self {
        Self {
            capacity,
            slots: Vec::new(),
            free_slots: NONE,
            lines: Vec::new(),
            free_lines: NONE,
            order: Vec::new(),
            turns: VecDeque::new(),
            len: 0,
            taken: 0,
            service: 0,
        }
    }

    /// The most bytes that a queue holds: lists grown to powers of two, for as many senders as there are places.
    pub const fn worst_case_bytes(capacity: usize) -> usize {
        crate::ring_bytes(capacity, size_of::<Slot<T>>())
            + crate::ring_bytes(capacity, size_of::<Line<K>>())
            + 2 * crate::ring_bytes(capacity, size_of::<u32>())
    }

    /// Takes up another capacity; what waits stays.
    pub const fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// How many places there are.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Items that wait.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Places taken: by items, and by those that are to come.
    pub const fn taken(&self) -> usize {
        self.taken
    }

    /// Places that a sender has taken.
    pub fn taken_by(&self, sender: K) -> usize {
        self.find(sender).map_or(0, |place| {
            let line = &self.lines[self.order[place] as usize];
            line.len + line.reserved
        })
    }

    /// How many senders have items that wait.
    pub fn senders(&self) -> usize {
        self.turns.len()
    }

    /// The items, line by line, in the order of the lines' turns, with what their line may still cost before its turn
    /// is over.
    pub fn iter(&self) -> impl Iterator<Item = (K, usize, &T)> {
        self.turns.iter().flat_map(move |&index| {
            let line = &self.lines[index as usize];
            let mut at = line.first;
            std::iter::from_fn(move || {
                let slot = self.slots.get(at as usize)?;
                at = slot.next;
                slot.item.as_ref().map(|(_, item)| (line.sender, line.credit, item))
            })
        })
    }

    /// Takes a place for an item of `sender`, within its share of the queue.
    ///
    /// # Errors
    /// [`NoPlace`]; nothing was taken then.
    pub fn reserve(&mut self, sender: K) -> Result<(), NoPlace> {
        let taken = self.taken_by(sender);
        let capacity = self.capacity;
        let free = capacity.saturating_sub(self.taken);
        let for_more =
            free.saturating_sub(capacity / PLACES_A_FIRST_PLACE).saturating_mul(PLACES_A_FREE_PLACE);
        if free > 0 && taken > 0 && taken >= for_more {
            return Err(NoPlace::Share { taken, capacity });
        }
        self.reserve_for_host(sender)
    }

    /// Takes a place for an item of `sender`, who may take all there are.
    ///
    /// # Errors
    /// [`NoPlace::Full`], [`NoPlace::Allocation`]; nothing was taken then.
    pub fn reserve_for_host(&mut self, sender: K) -> Result<(), NoPlace> {
        let capacity = self.capacity;
        if self.taken >= capacity {
            return Err(NoPlace::Full { capacity });
        }
        // Room for the item comes with the place, so that nothing fails when the item comes.
        if self.slots.len() <= self.taken {
            self.slots.try_reserve(1)?;
        }
        if self.free_lines == NONE {
            self.lines.try_reserve(1)?;
        }
        self.order.try_reserve(1)?;
        self.turns.try_reserve(self.order.len() + 1 - self.turns.len())?;
        self.take_place(sender);
        Ok(())
    }

    /// Gives back a place whose item does not come.
    pub fn release(&mut self, sender: K) {
        let Ok(place) = self.find(sender) else { return };
        let index = self.order[place];
        if self.lines[index as usize].reserved > 0 {
            self.lines[index as usize].reserved -= 1;
            self.taken -= 1;
            self.drop_line_if_unused(place);
        }
    }

    /// Puts an item of so much cost, at least 1, behind those of its sender: in the place that was taken for it, or, if
    /// none was, in one more, whatever the capacity.
    pub fn push(&mut self, sender: K, cost: usize, item: T) {
        let index = match self.find(sender) {
            Ok(place) if self.lines[self.order[place] as usize].reserved > 0 => self.order[place],
            _ => self.take_place(sender),
        };
        let slot = self.free_slots;
        let held = &mut self.slots[slot as usize];
        self.free_slots = std::mem::replace(&mut held.next, NONE);
        held.item = Some((cost.max(1), item));
        let line = &mut self.lines[index as usize];
        line.reserved -= 1;
        if line.len == 0 {
            line.first = slot;
            line.credit = QUANTUM;
            self.turns.push_back(index);
        } else {
            self.slots[line.last as usize].next = slot;
        }
        line.last = slot;
        line.len += 1;
        self.len += 1;
    }

    /// What the items of `sender`, if some wait, may still cost before its turn is over; as it was saved.
    pub fn set_credit(&mut self, sender: K, credit: usize) {
        if let Ok(place) = self.find(sender) {
            self.lines[self.order[place] as usize].credit = credit;
        }
    }

    /// Takes all items out, line by line, with their costs; places that were taken for items to come stay taken.
    pub fn take_all(&mut self) -> Vec<(K, usize, T)> {
        let mut all = Vec::with_capacity(self.len);
        while let Some(&index) = self.turns.front() {
            let sender = self.lines[index as usize].sender;
            all.extend(self.pop_of(index).map(|(cost, item)| (sender, cost, item)));
            if self.lines[index as usize].len == 0 {
                self.end_line();
            }
        }
        self.give_back();
        all
    }

    /// Serves the lines in turn, items of up to `limit` in cost and at least one, in whole rounds until one line is
    /// empty: its sender may be waiting to be served before it sends more, and should not wait for those who send
    /// without waiting.
    pub fn serve(&mut self, limit: usize, mut take: impl FnMut(Turn<K, T>)) {
        self.service += 1;
        let (mut served, mut is_emptied) = (0, false);
        while !self.turns.is_empty() && !is_emptied {
            for _ in 0..self.turns.len() {
                let Some(&index) = self.turns.front() else { break };
                let is_alone = self.turns.len() == 1;
                if self.serve_line(index, is_alone, limit, &mut served, &mut take) {
                    return self.give_back();
                }
                if self.lines[index as usize].len == 0 {
                    is_emptied = true;
                    self.end_line();
                } else {
                    let line = &mut self.lines[index as usize];
                    let quantum = if line.len > LONG_LINE { QUANTUM_OF_LONG } else { QUANTUM };
                    line.credit = line.credit.saturating_add(quantum);
                    self.turns.rotate_left(1);
                }
            }
        }
        self.give_back();
    }

    /// Serves what the first line may take in its turn; whether `limit` is reached.
    fn serve_line(
        &mut self,
        index: u32,
        is_alone: bool,
        limit: usize,
        served: &mut usize,
        take: &mut impl FnMut(Turn<K, T>),
    ) -> bool {
        let line = &mut self.lines[index as usize];
        if line.met.0 != self.service {
            line.met = (self.service, line.len);
        }
        let (sender, of_sender) = (line.sender, line.met.1);
        while let Some(slot) = self.slots.get(self.lines[index as usize].first as usize)
            && let &Some((cost, _)) = &slot.item
        {
            if *served >= limit {
                return true;
            }
            let credit = &mut self.lines[index as usize].credit;
            match credit.checked_sub(cost.saturating_mul(UNIT)) {
                Some(left) => *credit = left,
                None if is_alone => *credit = 0,
                None => break,
            }
            *served += cost;
            if let Some((_, item)) = self.pop_of(index) {
                take(Turn { sender, of_sender, item });
            }
        }
        false
    }

    /// Takes the first item of a line; its place is free then.
    fn pop_of(&mut self, index: u32) -> Option<(usize, T)> {
        let line = &mut self.lines[index as usize];
        let first = line.first;
        let slot = self.slots.get_mut(first as usize)?;
        let item = slot.item.take()?;
        line.first = std::mem::replace(&mut slot.next, self.free_slots);
        self.free_slots = first;
        line.len -= 1;
        self.len -= 1;
        self.taken -= 1;
        Some(item)
    }

    /// The first line is empty: it has no turn any more.
    fn end_line(&mut self) {
        let Some(index) = self.turns.pop_front() else { return };
        if let Ok(place) = self.find(self.lines[index as usize].sender) {
            self.drop_line_if_unused(place);
        }
    }

    /// Takes a place, and a line if the sender has none; the line's index.
    fn take_place(&mut self, sender: K) -> u32 {
        if self.slots.len() <= self.taken {
            self.slots.push(Slot { item: None, next: self.free_slots });
            self.free_slots = (self.slots.len() - 1) as u32;
        }
        self.taken += 1;
        let index = match self.find(sender) {
            Ok(place) => self.order[place],
            Err(place) => {
                let line =
                    Line { sender, first: NONE, last: NONE, len: 0, reserved: 0, credit: 0, met: (0, 0) };
                let index = self.free_lines;
                let index = match self.lines.get_mut(index as usize) {
                    Some(unused) => {
                        self.free_lines = unused.first;
                        *unused = line;
                        index
                    }
                    None => {
                        self.lines.push(line);
                        (self.lines.len() - 1) as u32
                    }
                };
                self.order.insert(place, index);
                index
            }
        };
        self.lines[index as usize].reserved += 1;
        index
    }

    fn drop_line_if_unused(&mut self, place: usize) {
        let index = self.order[place];
        let line = &mut self.lines[index as usize];
        if line.len == 0 && line.reserved == 0 {
            line.first = std::mem::replace(&mut self.free_lines, index);
            self.order.remove(place);
        }
    }

    /// Gives memory back once nothing waits nor is to come.
    fn give_back(&mut self) {
        if self.taken == 0 && self.slots.capacity() > KEPT {
            *self = Self { service: self.service, ..Self::new(self.capacity) };
        }
    }

    /// Where the line of a sender is in `order`, or would be.
    fn find(&self, sender: K) -> Result<usize, usize> {
        self.order.binary_search_by(|&index| self.lines[index as usize].sender.cmp(&sender))
    }
}
