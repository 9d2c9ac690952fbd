//! The fair queue against a model of it: lists, and the rules of its documentation read literally.

use std::collections::BTreeMap;

use bb_framework::FairQueue;
use bb_framework::fair_queue::{LONG_LINE, NoPlace, PLACES_A_FIRST_PLACE, PLACES_A_FREE_PLACE, Turn};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Call {
    Reserve(u8),
    Push(u8, usize),
    Release(u8),
    Serve(usize),
    MoveAll,
}

fn any_call() -> impl Strategy<Value = Call> {
    let sender = 0_u8..5;
    let cost = prop_oneof![Just(1_usize), 1_usize..20];
    prop_oneof![
        3 => sender.clone().prop_map(Call::Reserve),
        6 => (sender.clone(), cost).prop_map(|(sender, cost)| Call::Push(sender, cost)),
        1 => sender.prop_map(Call::Release),
        3 => (1_usize..12).prop_map(Call::Serve),
        1 => Just(Call::MoveAll),
    ]
}

/// A sender, what its line may still cost, and its items with their costs.
type Line = (u8, usize, Vec<(usize, u32)>);

/// Lines in the order of their turns, and places taken in advance.
#[derive(Default)]
struct Model {
    lines: Vec<Line>,
    reserved: BTreeMap<u8, usize>,
}

impl Model {
    fn taken(&self) -> usize {
        self.len() + self.reserved.values().sum::<usize>()
    }

    fn len(&self) -> usize {
        self.lines.iter().map(|(_, _, items)| items.len()).sum()
    }

    fn taken_by(&self, sender: u8) -> usize {
        let waiting = self.lines.iter().find(|(held, ..)| *held == sender).map_or(0, |line| line.2.len());
        waiting + self.reserved.get(&sender).copied().unwrap_or_default()
    }

    fn may_reserve(&self, sender: u8, capacity: usize) -> bool {
        let free = capacity.saturating_sub(self.taken());
        let for_more = PLACES_A_FREE_PLACE * free.saturating_sub(capacity / PLACES_A_FIRST_PLACE);
        free > 0 && (self.taken_by(sender) == 0 || self.taken_by(sender) < for_more)
    }

    fn push(&mut self, sender: u8, cost: usize, item: u32) {
        let reserved = self.reserved.entry(sender).or_default();
        *reserved = reserved.saturating_sub(1);
        match self.lines.iter_mut().find(|(held, ..)| *held == sender) {
            Some((_, _, items)) => items.push((cost, item)),
            None => self.lines.push((sender, 4, vec![(cost, item)])),
        }
    }

    fn serve(&mut self, limit: usize) -> Vec<(u8, u32)> {
        let (mut served, mut cost_served) = (Vec::new(), 0);
        loop {
            let mut is_emptied = false;
            for _ in 0..self.lines.len() {
                let is_alone = self.lines.len() == 1;
                let (sender, credit, items) = &mut self.lines[0];
                while let Some(&(cost, item)) = items.first() {
                    if cost_served >= limit {
                        return served;
                    }
                    if 4 * cost > *credit && !is_alone {
                        break;
                    }
                    *credit = credit.saturating_sub(4 * cost);
                    cost_served += cost;
                    served.push((*sender, item));
                    items.remove(0);
                }
                if items.is_empty() {
                    is_emptied = true;
                    self.lines.remove(0);
                } else {
                    *credit += if items.len() > LONG_LINE { 1 } else { 4 };
                    self.lines.rotate_left(1);
                }
            }
            if is_emptied || self.lines.is_empty() {
                return served;
            }
        }
    }
}

/// A queue with the same items, made as a snapshot makes it.
fn moved(queue: &FairQueue<u8, (usize, u32)>, model: &Model) -> FairQueue<u8, (usize, u32)> {
    let mut copy = FairQueue::new(queue.capacity());
    for (sender, credit, &(cost, item)) in queue.iter() {
        copy.push(sender, cost, (cost, item));
        copy.set_credit(sender, credit);
    }
    for (&sender, &reserved) in &model.reserved {
        for _ in 0..reserved {
            copy.reserve_for_host(sender).unwrap();
        }
    }
    copy
}

proptest! {
    #[test]
    fn it_serves_as_its_documentation_says(calls in prop::collection::vec(any_call(), 1..400), capacity in 1_usize..200) {
        let mut queue = FairQueue::new(capacity);
        let mut model = Model::default();
        for (number, call) in calls.into_iter().enumerate() {
            match call {
                Call::Reserve(sender) => {
                    let may = model.may_reserve(sender, capacity);
                    prop_assert_eq!(queue.reserve(sender).is_ok(), may);
                    *model.reserved.entry(sender).or_default() += usize::from(may);
                }
                Call::Push(sender, cost) if model.reserved.get(&sender).is_some_and(|&count| count > 0) => {
                    queue.push(sender, cost, (cost, number as u32));
                    model.push(sender, cost, number as u32);
                }
                Call::Push(..) => {}
                Call::Release(sender) => {
                    queue.release(sender);
                    let reserved = model.reserved.entry(sender).or_default();
                    *reserved = reserved.saturating_sub(1);
                }
                Call::Serve(limit) => {
                    let mut served = Vec::new();
                    queue.serve(limit, |Turn { sender, item, .. }| served.push((sender, item.1)));
                    prop_assert_eq!(served, model.serve(limit));
                }
                Call::MoveAll => queue = moved(&queue, &model),
            }
            prop_assert_eq!((queue.len(), queue.taken()), (model.len(), model.taken()));
            prop_assert_eq!(queue.senders(), model.lines.len());
            for sender in 0..5 {
                prop_assert_eq!(queue.taken_by(sender), model.taken_by(sender));
            }
        }
        let waiting = queue.len();
        prop_assert_eq!(queue.take_all().len(), waiting);
        prop_assert_eq!(queue.taken(), model.taken() - waiting);
    }
}

/// Takes what places a sender can get.
fn fill(queue: &mut FairQueue<u32, ()>, sender: u32) -> usize {
    let mut count = queue.taken_by(sender);
    loop {
        match queue.reserve(sender) {
            Ok(()) => queue.push(sender, 1, ()),
            Err(NoPlace::Share { taken, .. }) => {
                assert_eq!(taken, count);
                return count;
            }
            Err(error) => panic!("{error}"),
        }
        count += 1;
    }
}

#[test]
fn one_sender_gets_more_than_three_quarters_of_it_and_not_all() {
    for capacity in [8, 16, 64, 256, 4_096] {
        let taken = fill(&mut FairQueue::new(capacity), 0);
        assert!(taken * 4 >= capacity * 3 && taken < capacity, "{taken} of {capacity}");
    }
}

#[test]
fn however_much_others_send_a_place_is_found_and_soon_served() {
    let mut queue = FairQueue::new(4_096);
    for _ in 0..1_000 {
        for loud in 0..100 {
            fill(&mut queue, loud);
        }
        queue.reserve(1_000).unwrap();
        queue.push(1_000, 1, ());
        let mut is_served = false;
        for _ in 0..2 {
            queue.serve(64, |turn| is_served |= turn.sender == 1_000);
        }
        assert!(is_served);
    }
}

#[test]
fn a_sender_of_large_items_gets_no_more_than_one_of_small_ones() {
    let mut queue = FairQueue::new(1_000);
    for _ in 0..LONG_LINE {
        for (sender, cost) in [(0, 16), (1, 1)] {
            queue.reserve(sender).unwrap();
            queue.push(sender, cost, cost);
        }
    }
    let mut served = [0; 2];
    for _ in 0..2 {
        queue.serve(32, |turn| served[turn.sender] += turn.item);
    }
    assert!(served[0].abs_diff(served[1]) <= 16, "{served:?}");
}

#[test]
fn a_sender_that_waits_for_its_answer_hardly_waits_for_one_that_does_not() {
    let mut queue = FairQueue::new(1_000);
    fill(&mut queue, 0);
    let mut served = [0; 2];
    for round in 1..=40 {
        queue.reserve(1).unwrap();
        queue.push(1, 1, ());
        queue.serve(64, |turn| served[turn.sender as usize] += 1);
        assert_eq!(served[1], round);
    }
    assert!((10..=11).contains(&served[0]), "the other is served all the same: {served:?}");
}

#[test]
fn long_lines_share_alike() {
    let mut queue = FairQueue::new(1_000);
    fill(&mut queue, 0);
    fill(&mut queue, 1);
    let mut served = [0_u32; 2];
    queue.serve(64, |turn| served[turn.sender as usize] += 1);
    assert!(served[0].abs_diff(served[1]) <= 1 && served[0] + served[1] == 64, "{served:?}");
}
