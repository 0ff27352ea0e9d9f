//! What is seldom there: a part of a context that takes room only while it says something.
//!
//! Most contexts are established, Operational and left alone. Whatever serves negotiation, exploration, tests or wishes
//! of somebody is then in its initial state, and there is one such state for all contexts.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// A value with an initial state.
pub(crate) trait Initial: Clone + 'static {
    /// That state, the same for all.
    const REST: &'static Self;
}

/// One that comes back to it by and by.
pub(crate) trait Rest: Initial {
    /// Whether the value is as good as [`Initial::REST`]: all that follows would be the same with that.
    fn rests(&self) -> bool;
}

/// A value in one pointer while it rests. Reading it as long as it was not changed gives [`Initial::REST`]; changing it puts
/// it into a place of its own, until [`Seldom::tidy`] finds it at rest again.
#[derive(Clone)]
pub(crate) struct Seldom<T>(Option<Box<T>>);

impl<T: Rest> Seldom<T> {
    /// Gives up the place if the value rests.
    pub(crate) fn tidy(&mut self) {
        if self.0.as_ref().is_some_and(|value| value.rests()) {
            self.0 = None;
        }
    }
}

impl<T: Initial> Seldom<T> {
    /// At rest.
    pub(crate) const NONE: Seldom<T> = Seldom(None);

    /// Back to rest, whatever the value is.
    pub(crate) fn put_to_rest(&mut self) {
        self.0 = None;
    }

    /// Whether it takes no room.
    pub(crate) fn takes_no_room(&self) -> bool {
        self.0.is_none()
    }
}

impl<T: Initial> Default for Seldom<T> {
    fn default() -> Seldom<T> {
        Seldom::NONE
    }
}

impl<T: Rest> From<T> for Seldom<T> {
    fn from(value: T) -> Seldom<T> {
        if value.rests() { Seldom::NONE } else { Seldom(Some(Box::new(value))) }
    }
}

impl<T: Initial> Deref for Seldom<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::REST)
    }
}

impl<T: Initial> DerefMut for Seldom<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_with(|| Box::new(T::REST.clone()))
    }
}

impl<T: Initial + fmt::Debug> fmt::Debug for Seldom<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Copy + 'static> Initial for Option<T> {
    const REST: &'static Option<T> = &None;
}

impl<T: Copy + 'static> Rest for Option<T> {
    fn rests(&self) -> bool {
        self.is_none()
    }
}

impl<T: Clone + 'static> Initial for Vec<T> {
    const REST: &'static Vec<T> = &Vec::new();
}

impl<T: Clone + 'static> Rest for Vec<T> {
    fn rests(&self) -> bool {
        self.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_takes_room_only_while_it_says_something() {
        let mut list: Seldom<Vec<u8>> = Seldom::NONE;
        assert_eq!(size_of_val(&list), 8);
        assert!(list.is_empty() && list.takes_no_room());
        list.push(1);
        list.tidy();
        assert_eq!(**list, [1]);
        assert_eq!(format!("{list:?}"), "[1]");
        assert!(!list.takes_no_room());
        list.pop();
        assert!(!list.takes_no_room() && list.is_empty());
        list.tidy();
        assert!(list.takes_no_room());
        let mut pair = Seldom::from(Some((1, 2)));
        assert_eq!(*pair, Some((1, 2)));
        *pair = None;
        pair.tidy();
        assert!(pair.takes_no_room() && Seldom::from(None::<u8>).takes_no_room());
        list.extend([1, 2]);
        list.put_to_rest();
        assert!(list.takes_no_room());
    }
}
