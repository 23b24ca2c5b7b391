//! Verbs whose grammar is made only when they are called: that of all of them takes longer than most of them do.

use std::ops::Deref;

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches, Id};

/// The arguments of a verb.
#[derive(Debug)]
pub(crate) struct Deferred<T>(pub(crate) T);

impl<T> Deref for Deferred<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Args> Args for Deferred<T> {
    fn group_id() -> Option<Id> {
        T::group_id()
    }

    fn augment_args(command: Command) -> Command {
        command.defer(|command| T::augment_args(command).mut_args(takes_what_follows))
    }

    fn augment_args_for_update(command: Command) -> Command {
        command.defer(|command| T::augment_args_for_update(command).mut_args(takes_what_follows))
    }
}

impl<T: FromArgMatches> FromArgMatches for Deferred<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches(matches).map(Self)
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches_mut(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }

    fn update_from_arg_matches_mut(&mut self, matches: &mut ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches_mut(matches)
    }
}

/// As in Docker, what follows a flag that needs a value is the value, whatever it begins with: `--env -X=1`.
fn takes_what_follows(argument: Arg) -> Arg {
    let is_optional =
        argument.is_require_equals_set() || argument.get_num_args().is_some_and(|count| count.min_values() == 0);
    let takes = !argument.is_positional() && argument.get_action().takes_values() && !is_optional;
    if takes { argument.allow_hyphen_values(true) } else { argument }
}
