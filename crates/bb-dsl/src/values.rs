//! Handles of recorded values, alone and in groups.

use std::panic::Location;

/// A value of the graph that is being recorded.
///
/// It may be used where it was made: in the same module, on the same peer class, in the same execution. Any
/// other use is an error that `build` reports with both lines.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    pub(crate) recorder: u32,
    pub(crate) value: u32,
    pub(crate) made_at: &'static Location<'static>,
    pub(crate) after: After,
}

/// The values that a use of a value waits for, besides the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct After {
    pub(crate) values: [u32; MAX_AFTER],
    pub(crate) count: u8,
}

/// How many values one value can be told to come after.
pub(crate) const MAX_AFTER: usize = 4;

impl After {
    pub(crate) const NONE: Self = Self { values: [POISON; MAX_AFTER], count: 0 };
}

/// What stands for a value that could not be recorded; the mistake is reported where it was made.
pub(crate) const POISON: u32 = u32::MAX;

impl Output {
    /// The same value, made after `other` is there: `self.model.parameters(g).after(tick)`.
    ///
    /// The op that makes the value runs after the one that makes `other`, and in the same execution; what `other` holds
    /// does not matter, and neither does it if `other` turns out to be absent. A constant, or an input, is handed on
    /// after it. It holds where the result of this method is used. `other` must have been recorded before.
    #[must_use = "the order holds where the value that this returns is used"]
    pub const fn after(mut self, other: Self) -> Self {
        if (self.after.count as usize) < MAX_AFTER {
            self.after.values[self.after.count as usize] = other.value;
        }
        self.after.count = self.after.count.saturating_add(1);
        self
    }

    #[track_caller]
    pub(crate) fn poison() -> Self {
        Self { recorder: 0, value: POISON, made_at: Location::caller(), after: After::NONE }
    }

    pub(crate) fn is_poison(self) -> bool {
        self.value == POISON
    }
}

/// Outputs in a group: one, none, a tuple, an array or a vector of them, nested as you like.
///
/// What goes into a call comes out in the body in the same form, and what a body returns comes out of the
/// call in the same form.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a group of outputs",
    label = "an `Output`, `()`, a tuple, an array or a `Vec` of them is expected here"
)]
pub trait Values: Sized {
    /// How many outputs it holds, if every group of this type holds as many.
    const COUNT: Option<usize>;

    /// Adds its outputs to `list`, in order.
    fn append_to(&self, list: &mut Vec<Output>);

    /// A group like this one, of the outputs that `next` gives.
    fn like(&self, next: &mut dyn FnMut() -> Output) -> Self;

    /// A group of `count` outputs, where [`Values::COUNT`] allows it.
    fn of(count: usize, next: &mut dyn FnMut() -> Output) -> Self;

    /// Its outputs, in order.
    fn list(&self) -> Vec<Output> {
        let mut list = Vec::new();
        self.append_to(&mut list);
        list
    }
}

impl Values for Output {
    const COUNT: Option<usize> = Some(1);

    fn append_to(&self, list: &mut Vec<Output>) {
        list.push(*self);
    }
    fn like(&self, next: &mut dyn FnMut() -> Output) -> Self {
        next()
    }
    fn of(_: usize, next: &mut dyn FnMut() -> Output) -> Self {
        next()
    }
}

impl<V: Values> Values for Vec<V> {
    const COUNT: Option<usize> = None;

    fn append_to(&self, list: &mut Vec<Output>) {
        for item in self {
            item.append_to(list);
        }
    }
    fn like(&self, next: &mut dyn FnMut() -> Output) -> Self {
        self.iter().map(|item| item.like(next)).collect()
    }
    fn of(count: usize, next: &mut dyn FnMut() -> Output) -> Self {
        let each = V::COUNT.unwrap_or(count).max(1);
        (0..count / each).map(|_| V::of(each, next)).collect()
    }
}

impl<V: Values, const N: usize> Values for [V; N] {
    const COUNT: Option<usize> = match V::COUNT {
        Some(count) => Some(count * N),
        None => None,
    };

    fn append_to(&self, list: &mut Vec<Output>) {
        for item in self {
            item.append_to(list);
        }
    }
    fn like(&self, next: &mut dyn FnMut() -> Output) -> Self {
        std::array::from_fn(|index| self[index].like(next))
    }
    fn of(count: usize, next: &mut dyn FnMut() -> Output) -> Self {
        std::array::from_fn(|_| V::of(V::COUNT.unwrap_or(count / N.max(1)), next))
    }
}

macro_rules! tuples {
    ($(($($item:ident $index:tt),*))*) => {$(
        impl<$($item: Values),*> Values for ($($item,)*) {
            const COUNT: Option<usize> = {
                let mut count = Some(0);
                $(count = match (count, $item::COUNT) {
                    (Some(before), Some(more)) => Some(before + more),
                    _ => None,
                };)*
                count
            };

            fn append_to(&self, list: &mut Vec<Output>) {
                $(self.$index.append_to(list);)*
            }
            fn like(&self, next: &mut dyn FnMut() -> Output) -> Self {
                ($(self.$index.like(next),)*)
            }
            fn of(count: usize, next: &mut dyn FnMut() -> Output) -> Self {
                let fixed = 0 $(+ $item::COUNT.unwrap_or(0))*;
                let rest = count.saturating_sub(fixed);
                ($($item::of($item::COUNT.unwrap_or(rest), next),)*)
            }
        }
    )*};
}

impl Values for () {
    const COUNT: Option<usize> = Some(0);

    fn append_to(&self, _: &mut Vec<Output>) {}
    fn like(&self, _: &mut dyn FnMut() -> Output) -> Self {}
    fn of(_: usize, _: &mut dyn FnMut() -> Output) -> Self {}
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, H 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, H 6, I 7)
}

/// What an aggregator can fold: an update, or an update and its weight.
#[diagnostic::on_unimplemented(
    message = "an aggregator cannot fold `{Self}`",
    label = "the body must return the update, or `(update, weight)`",
    note = "with `.each(g, |g, peer, result| …)` a region of your own takes each answer"
)]
pub trait Update: Values {
    /// The update and, if it has one, its weight.
    fn parts(&self) -> (Output, Option<Output>);
}

impl Update for Output {
    fn parts(&self) -> (Output, Option<Output>) {
        (*self, None)
    }
}

impl Update for (Output,) {
    fn parts(&self) -> (Output, Option<Output>) {
        (self.0, None)
    }
}

impl Update for (Output, Output) {
    fn parts(&self) -> (Output, Option<Output>) {
        (self.0, Some(self.1))
    }
}
