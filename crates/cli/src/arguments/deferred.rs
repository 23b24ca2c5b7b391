//! Verbs whose grammar is made only when they are called: that of all of them takes longer than most of them do.

use std::ops::Deref;

use clap::builder::Resettable;
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
        command.defer(|command| completed(command, T::augment_args))
    }

    fn augment_args_for_update(command: Command) -> Command {
        command.defer(|command| completed(command, T::augment_args_for_update))
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

/// What the verb does is said where it is listed; the flags that it shares with others have a description of their own.
fn completed(command: Command, augment: fn(Command) -> Command) -> Command {
    let (about, long) = (command.get_about().cloned(), command.get_long_about().cloned());
    augment(command).mut_args(takes_what_follows).about(Resettable::from(about)).long_about(Resettable::from(long))
}

/// As in Docker, what follows a flag that needs a value is the value, whatever it begins with: `--env -X=1`.
fn takes_what_follows(argument: Arg) -> Arg {
    let is_optional =
        argument.is_require_equals_set() || argument.get_num_args().is_some_and(|count| count.min_values() == 0);
    let takes = !argument.is_positional() && argument.get_action().takes_values() && !is_optional;
    if takes { argument.allow_hyphen_values(true) } else { argument }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::CommandFactory as _;

    /// Flags that verbs share come with a description of their own, which is none of the verb's.
    #[test]
    fn every_verb_says_what_it_does() {
        let mut command = crate::arguments::Arguments::command();
        command.build();
        let mut abouts = BTreeMap::new();
        for verb in command.get_subcommands() {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            let other = abouts.insert(about.clone(), verb.get_name().to_owned());
            assert!(other.is_none() && !about.is_empty(), "{} and {other:?}: {about}", verb.get_name());
        }
    }
}
