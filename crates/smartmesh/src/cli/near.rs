//! Words of the commands that speak to everybody near.

use clap::{Args, Subcommand};

/// A place on Earth.
#[derive(Debug, Args)]
pub(crate) struct Where {
    /// Degrees north
    #[arg(long, requires = "lon", allow_negative_numbers = true)]
    pub(crate) lat: Option<f64>,
    /// Degrees east
    #[arg(long, requires = "lat", allow_negative_numbers = true)]
    pub(crate) lon: Option<f64>,
    /// How far the place may be off, in metres
    #[arg(long, default_value_t = 0)]
    pub(crate) accuracy: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum NeedWord {
    Life,
    Injured,
    Unknown,
    Stuck,
    Supplies,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ConditionWord {
    Safe,
    Hurt,
    Missing,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum UrgencyWord {
    Information,
    Warning,
    Danger,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ExportForm {
    Gpx,
    Geojson,
    Csv,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SosCommand {
    /// Show who calls for help, the most urgent first
    List {
        /// Only those that are not over and not done
        #[arg(long)]
        open: bool,
    },
    /// Take your call back
    Cancel {
        /// In your words
        #[arg(default_value = "")]
        note: String,
    },
    /// Tell everybody that you go and help
    Claim {
        /// An address or a contact's name
        who: String,
        /// In your words
        #[arg(default_value = "")]
        note: String,
    },
    /// Give a call back that you took on
    Release {
        /// An address or a contact's name
        who: String,
        /// In your words
        #[arg(default_value = "")]
        note: String,
    },
    /// Tell everybody that help has been given
    Done {
        /// An address or a contact's name
        who: String,
        /// In your words
        #[arg(default_value = "")]
        note: String,
    },
    /// Print all calls for responders' programs
    Export {
        /// In which form
        #[arg(long = "format", value_enum, default_value_t = ExportForm::Csv)]
        form: ExportForm,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SafeCommand {
    /// Look for people by name
    Find {
        /// Words of the name; everybody without them
        query: Option<String>,
    },
    /// Print what is known of people as CSV
    Export,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BulletinCommand {
    /// Show the bulletins that hold
    List,
    /// Publish a bulletin under this phone's key; an empty text withdraws the one of that title
    Publish {
        /// Its title
        title: String,
        /// Its text
        text: String,
        /// How urgent it is
        #[arg(long, value_enum, default_value_t = UrgencyWord::Information)]
        urgency: UrgencyWord,
        /// How many hours it holds
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=720))]
        hours: u16,
    },
    /// Show an authority's bulletins from now on
    Pin {
        /// An address, an invite, or a contact's name
        who: String,
        /// What to call it
        #[arg(long, default_value = "")]
        name: String,
    },
    /// Show them no longer
    Unpin {
        /// An address or a contact's name
        who: String,
    },
    /// Show which keys are pinned
    Pins,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RoomCommand {
    /// Hide what somebody says in the room
    Mute {
        /// An address or a contact's name
        who: String,
    },
    /// Show it again
    Unmute {
        /// An address or a contact's name
        who: String,
    },
    /// Show who is muted
    Mutes,
    /// Print the list of muted people as a signed text for others
    List,
    /// Mute everybody on somebody's list but your contacts
    Adopt {
        /// The list's text
        text: String,
    },
}
