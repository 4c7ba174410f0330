//! Words and flags of the command line.

pub(crate) mod chain;
pub(crate) mod light;

mod near;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use smartmesh_api::Amount;
use smartmesh_daemon::{ChainChoice, LinkSpec, PeerName};

pub(crate) use near::{
    BulletinCommand, ConditionWord, ExportForm, NeedWord, RoomCommand, SafeCommand, SosCommand,
    UrgencyWord, Where,
};

/// Phones that find each other and talk, with no SIM, no tower and no Internet.
///
/// Start with `smartmesh up`, then, in another terminal, `smartmesh id` to be found and `smartmesh nearby` to see who is here.
#[derive(Debug, Parser)]
#[command(
    name = "smartmesh",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no node runs on this folder, 4 not reached in time."
)]
pub(crate) struct Cli {
    /// The node's data folder [default: $XDG_DATA_HOME/smartmesh or ~/.local/share/smartmesh]
    #[arg(long, global = true, env = "SMARTMESH_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Print JSON for programs instead of text for people
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run this device's node until Ctrl-C
    Up(Up),
    /// Open the app of the running node in a browser
    Open {
        /// Only print the address; it opens once, within ten minutes
        #[arg(long)]
        print: bool,
    },
    /// Stop the running node
    Down,
    /// Show the node's state: radios, neighbours, routes, mail
    Status,
    /// Show who can be reached, how many hops away, and how fresh that is
    Nearby,
    /// Show this node's address, and an invite as text and QR code
    Id,
    /// Add a contact from an address or an invite
    Add {
        /// A mesh address or an invite that begins with smartmesh:
        who: String,
        /// What to call them
        #[arg(long)]
        name: Option<String>,
    },
    /// Show or change the contacts
    Contacts {
        #[command(subcommand)]
        change: Option<ContactChange>,
    },
    /// Send a text; it is carried by people when there is no path now
    Send {
        /// An address, a contact's name, or an invite
        to: String,
        /// The text
        text: String,
        /// Wait up to so many seconds for it to arrive
        #[arg(long, value_name = "S")]
        wait: Option<f64>,
        /// The id of the message it answers
        #[arg(long, value_name = "MESSAGE")]
        reply: Option<String>,
        /// Both phones remove it so many seconds after it was sent (here) or read (there)
        #[arg(long, value_name = "S")]
        vanish: Option<u32>,
        /// A file to send along
        #[arg(long)]
        file: Option<PathBuf>,
        /// Media type of the file, such as image/jpeg
        #[arg(long = "type", default_value = "")]
        media_type: String,
        /// The file is a picture, and this is a small one of it (at most 8 KiB) that arrives with the message
        #[arg(long, value_name = "FILE", requires = "file")]
        thumbnail: Option<PathBuf>,
        /// The file is something spoken of so many milliseconds
        #[arg(
            long,
            value_name = "MS",
            requires = "file",
            conflicts_with = "thumbnail"
        )]
        voice: Option<u32>,
    },
    /// Put a sign on a message
    React {
        /// The message's id
        message: String,
        /// The sign; an empty one takes it back
        emoji: String,
    },
    /// Give a message of yours other words, on both phones
    Edit {
        /// The message's id
        message: String,
        /// The words
        text: String,
    },
    /// Remove a message from this phone
    Delete {
        /// The message's id
        message: String,
        /// Ask the other phone to remove it too; for messages of yours
        #[arg(long)]
        everyone: bool,
    },
    /// Find messages by words or parts of words
    Search {
        /// The words; all of them must be in a message
        words: String,
        /// Only with this person or in this group
        #[arg(long)]
        with: Option<String>,
    },
    /// Show all conversations, the newest first
    Chats,
    /// Compare a short phrase with a contact, to know that nobody stands between you
    Verify {
        /// An address or a contact's name
        who: String,
        /// The phrase is the same on both phones
        #[arg(long, conflicts_with = "no")]
        yes: bool,
        /// It is not, or no longer to be trusted
        #[arg(long)]
        no: bool,
    },
    /// Show received messages, and tell their senders that they were read
    Inbox {
        /// Go on showing messages as they come
        #[arg(long)]
        follow: bool,
        /// Don't tell anybody that they were read
        #[arg(long)]
        peek: bool,
        /// Show sent messages and where they are, too
        #[arg(long)]
        all: bool,
    },
    /// Call for help: every phone in reach shows it, before everything else and free of charge
    #[command(args_conflicts_with_subcommands = true)]
    Sos {
        /// What happened; about 100 letters fit
        note: Option<String>,
        /// What is needed most
        #[arg(long, value_enum, default_value_t = NeedWord::Unknown)]
        need: NeedWord,
        /// How many people are in need
        #[arg(long, default_value_t = 0)]
        people: u8,
        /// Charge of the phone in percent
        #[arg(long, value_parser = clap::value_parser!(u8).range(0..=100))]
        battery: Option<u8>,
        #[command(flatten)]
        place: Where,
        #[command(subcommand)]
        command: Option<SosCommand>,
    },
    /// Say that you, or somebody else, are safe; look for people
    #[command(args_conflicts_with_subcommands = true)]
    Safe {
        /// Who [default: you]
        name: Option<String>,
        /// What tells them from others of that name: a village, a parent
        #[arg(long, default_value = "")]
        about: String,
        /// How they are
        #[arg(long, value_enum, default_value_t = ConditionWord::Safe)]
        condition: ConditionWord,
        /// More
        #[arg(long, default_value = "")]
        note: String,
        #[command(flatten)]
        place: Where,
        #[command(subcommand)]
        command: Option<SafeCommand>,
    },
    /// Word from authorities whose keys you have pinned
    Bulletin {
        #[command(subcommand)]
        command: BulletinCommand,
    },
    /// The public room: what is said by everybody near
    #[command(args_conflicts_with_subcommands = true)]
    Room {
        /// Words to say; without them the room is shown
        text: Option<String>,
        /// Go on showing what is said
        #[arg(long)]
        follow: bool,
        #[command(subcommand)]
        command: Option<RoomCommand>,
    },
    /// Change what you are called
    Name {
        /// The new name
        name: String,
    },
    /// Store a file and offer it to somebody
    Share {
        /// The file
        file: PathBuf,
        /// An address, a contact's name, or an invite
        #[arg(long)]
        to: Option<String>,
        /// Media type, such as image/jpeg
        #[arg(long = "type", default_value = "")]
        media_type: String,
        /// Use a plain Swarm reference instead of an encrypted one
        #[arg(long)]
        plain: bool,
    },
    /// Fetch an offered file, or list the offers
    Get {
        /// The file's name, or the id of the message that offers it
        file: Option<String>,
        /// Where to save it [default: its name, in this folder]
        #[arg(long, short)]
        out: Option<PathBuf>,
    },
    /// Measure the round trip to somebody
    Ping {
        /// An address or a contact's name
        to: String,
        /// How many times
        #[arg(long, short, default_value_t = 4)]
        count: u32,
        /// Seconds between two
        #[arg(long, short, default_value_t = 1.0)]
        interval: f64,
    },
    /// Show the path to somebody, hop by hop
    Trace {
        /// An address or a contact's name
        to: String,
    },
    /// Measure throughput and loss to somebody
    Perf {
        /// An address or a contact's name
        to: String,
        /// For how many seconds
        #[arg(long, short, default_value_t = 5.0)]
        seconds: f64,
    },
    /// Verify Ethereum's light-client data, and see what this phone believes
    Light {
        #[command(subcommand)]
        command: light::Light,
    },
    /// Show what the wallet holds; receive, send, back up
    Wallet {
        #[command(subcommand)]
        command: Option<WalletCommand>,
    },
    /// Pay somebody; shows first how, for what fee, and when it is final
    Pay {
        /// A contact's name, a mesh address, a request, or an account of the chain
        who: String,
        /// How much, in SMT; a request may already say it
        amount: Option<Amount>,
        /// What for
        #[arg(long, default_value = "")]
        memo: String,
        /// Sign without a question
        #[arg(long, short)]
        yes: bool,
    },
    /// Payment channels: list, open, deposit, withdraw, close, settle, verify
    Channel {
        #[command(subcommand)]
        command: Option<ChannelCommand>,
    },
    /// Ask to be paid: a text and a QR code
    Request {
        /// How much, in SMT; the payer chooses if not given
        amount: Option<Amount>,
        /// What for
        #[arg(long, default_value = "")]
        memo: String,
    },
    /// Bring what others have signed to the chain, for a fee
    Agent {
        #[command(subcommand)]
        command: AgentCommand,
    },
    /// A chain for development and tests, and the contracts on any chain
    Chain {
        #[command(subcommand)]
        command: ChainCommand,
    },
    /// Ask Ethereum a JSON-RPC question through this phone's light node
    Rpc {
        /// Such as eth_getBalance
        method: String,
        /// Parameters, each as JSON or as plain text
        params: Vec<String>,
    },
    /// Check each layer, and say what to do where something is wrong
    Doctor,
    /// Start a village of seven phones on this machine and show what they can do
    Demo {
        /// End after the story instead of staying up for you to try things
        #[arg(long)]
        once: bool,
    },
    /// Let people near see your name, or stop it
    Visible {
        /// on or off
        #[arg(value_enum)]
        state: OnOff,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnOff {
    On,
    Off,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WalletCommand {
    /// Show what the wallet holds (the same as `wallet` alone)
    Balance,
    /// Show the account on the chain, as text and QR code
    Receive,
    /// Send SMT to an account by a transaction on the chain
    Send {
        /// The account, 0x and 40 hex digits
        to: String,
        /// How much, in SMT
        amount: Amount,
        /// Sign without a question
        #[arg(long, short)]
        yes: bool,
    },
    /// Show where tokens came from and went, newest first
    History,
    /// Show the words that give everything back
    Backup,
    /// Put another wallet in the place of this one, from its words
    Restore {
        /// A file with the words [default: typed]
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Sign a payment that somebody else brings to the chain for a fee, so that no ether is needed
    Authorise {
        /// The account that gets it
        to: String,
        /// How much it gets, in SMT
        amount: Amount,
        /// What whoever brings it to the chain gets, in SMT
        #[arg(long)]
        fee: Amount,
        /// The only account that may bring it [default: anybody]
        #[arg(long, value_name = "ACCOUNT")]
        agent: Option<String>,
        /// Sign without a question
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ChannelCommand {
    /// List the channels (the same as `channel` alone)
    List,
    /// Open a channel with somebody in reach
    Open {
        /// A contact's name or a mesh address
        with: String,
        /// What to put in, in SMT
        deposit: Amount,
        /// Sign without a question
        #[arg(long, short)]
        yes: bool,
    },
    /// Put more in
    Deposit {
        /// The channel, or the beginning of its id
        channel: String,
        /// How much, in SMT
        amount: Amount,
        /// Sign without a question
        #[arg(long, short)]
        yes: bool,
    },
    /// Take something out while it stays open
    Withdraw {
        /// The channel, or the beginning of its id
        channel: String,
        /// How much, in SMT
        amount: Amount,
        /// Sign without a question
        #[arg(long, short)]
        yes: bool,
    },
    /// End it: together with the partner, or alone
    Close {
        /// The channel, or the beginning of its id
        channel: String,
        /// Don't ask the partner; it can object for the hold
        #[arg(long)]
        alone: bool,
        /// Sign without a question
        #[arg(long, short)]
        yes: bool,
    },
    /// Have a closed channel paid out
    Settle {
        /// The channel, or the beginning of its id
        channel: String,
        /// Sign without a question
        #[arg(long, short)]
        yes: bool,
    },
    /// Tell who must get what and whether anybody cheated, from an exported file; needs no node
    Verify {
        /// The file
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Submit a signed payment, made by `wallet authorise`
    Submit {
        /// Its text
        payment: String,
        /// Submit without a question
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ChainCommand {
    /// Run a chain of your own with SMT's contracts, until Ctrl-C
    Devnet {
        /// The port of its JSON-RPC
        #[arg(long, default_value_t = 8545)]
        port: u16,
    },
    /// Make the five contracts and print where they are, as JSON for `--contracts`
    Deploy(chain::Deploy),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContactChange {
    /// Call a contact something else
    Rename {
        /// An address or the present name
        who: String,
        /// The new name
        name: String,
    },
    /// Refuse what a contact sends
    Block {
        /// An address or a name
        who: String,
    },
    /// Accept again what a contact sends
    Unblock {
        /// An address or a name
        who: String,
    },
    /// Remove a contact and its keys
    Forget {
        /// An address or a name
        who: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// The name to show to people when you are visible
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Where to serve the local API [default: 127.0.0.1:21326, or a free port]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) api: Option<SocketAddr>,
    /// A link to use: udp:IFACE, socket:PATH, peers, or for tests lossy:loss=0.1,delay=20:LINK and trace:FILE:LINK
    /// [default: UDP on all usable interfaces]
    #[arg(long = "link", value_name = "LINK")]
    pub(crate) links: Vec<LinkSpec>,
    /// A node to reach over the Internet
    #[arg(long = "peer", value_name = "HOST:PORT")]
    pub(crate) peers: Vec<PeerName>,
    /// Where nodes that have this one as a peer reach it
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Make a network interface of this name, so that any program can use the mesh (needs root or CAP_NET_ADMIN)
    #[arg(long = "tun", value_name = "NAME")]
    pub(crate) tunnel: Option<String>,
    /// Don't open the app in a browser
    #[arg(long)]
    pub(crate) no_open: bool,
    /// The page that may show the app in a frame
    #[arg(long, value_name = "ORIGIN", hide = true)]
    pub(crate) framed_by: Option<String>,
    /// How to reach the chain: devnet for one inside this node, or the URL of an Ethereum JSON-RPC [default: none]
    #[arg(
        long,
        value_name = "devnet|URL",
        default_value = "none",
        hide_default_value = true
    )]
    pub(crate) chain: ChainChoice,
    /// The list of SMT's contracts [default: that of the development chain, or of last time]
    #[arg(long, value_name = "FILE")]
    pub(crate) contracts: Option<PathBuf>,
    /// Beacon APIs for the light node [default: the URLs of --chain]
    #[arg(long = "beacon", value_name = "URL")]
    pub(crate) beacons: Vec<String>,
    /// A beacon block root from a source you trust, not older than two weeks: the light node verifies everything from there
    #[arg(long, value_name = "0x…")]
    pub(crate) checkpoint: Option<String>,
    /// Blocks on top of one before its deposits and closes count
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub(crate) confirmations: u64,
    /// A file whose first line protects the keys on disk; SMARTMESH_PASSPHRASE does the same
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn up_takes_what_the_readme_says() {
        let cli = Cli::try_parse_from([
            "smartmesh",
            "up",
            "--data",
            "/tmp/a",
            "--name",
            "Ann",
            "--api",
            "127.0.0.1:0",
            "--link",
            "udp:lo",
            "--link",
            "lossy:loss=0.1,delay=20:peers",
            "--listen",
            "127.0.0.1:4000",
            "--peer",
            "localhost:4001",
            "--tun",
            "mesh0",
        ])
        .unwrap();
        let Command::Up(up) = cli.command else {
            panic!("{cli:?}")
        };
        assert_eq!(up.links.len(), 2);
        assert_eq!(up.peers[0].to_string(), "localhost:4001");
        assert_eq!(cli.data, Some("/tmp/a".into()));
    }

    #[test]
    fn json_and_data_may_stand_behind_the_command() {
        let cli = Cli::try_parse_from([
            "smartmesh",
            "send",
            "Ann",
            "hello",
            "--wait",
            "2.5",
            "--json",
            "--data",
            "d",
        ])
        .unwrap();
        assert!(cli.json);
        assert!(matches!(cli.command, Command::Send { wait: Some(seconds), .. } if seconds == 2.5));
    }

    #[test]
    fn senseless_links_are_refused_with_the_reason() {
        let error = Cli::try_parse_from(["smartmesh", "up", "--link", "bluetooth:x"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("udp:IFACE"), "{error}");
    }
}
