//! Alice and Brandon talk where there is no network: a letter is carried by a walker, then they meet.
//!
//! `cargo run -p smartmesh-messaging --example story`
#![expect(clippy::print_stdout, reason = "the program tells a story")]

use smartmesh_crypto::{Identity, Seed};
use smartmesh_messaging::{
    Answer, Command, CommandError, Config, Content, Event, Input, Messaging, Output, Urgency,
};
use smartmesh_types::{Address, Duration, Instant, Now, RequestId, UnixTime};

struct Phone {
    name: &'static str,
    identity: Identity,
    core: Messaging,
    /// What it gave to people who walk by.
    letters: Vec<Vec<u8>>,
    /// What it sends to who is in reach.
    packets: Vec<Vec<u8>>,
    invite: String,
}

impl Phone {
    fn new(name: &'static str, secret: u8, now: Now) -> Self {
        let identity = Identity::from_secret([secret; 32]);
        let seed = Seed::new([secret; 32]);
        let core = Messaging::new(Config::default(), &identity, &seed, now);
        Self {
            name,
            identity,
            core,
            letters: Vec::new(),
            packets: Vec::new(),
            invite: String::new(),
        }
    }

    fn address(&self) -> Address {
        self.identity.address()
    }

    /// Gives the core one input and does what it asks for.
    fn take(&mut self, input: Input, now: Now) -> Result<(), CommandError> {
        self.core.handle(input, now)?;
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Deposit { sealed, .. } => {
                    let bytes = sealed.len();
                    println!("  {}: {bytes} sealed bytes wait for a walker", self.name);
                    self.letters.push(sealed);
                }
                Output::SendPacket { payload, .. } => self.packets.push(payload),
                Output::Event(event) => self.tell(event, now)?,
                Output::Persist(_)
                | Output::OpenPath { .. }
                | Output::Reveal { .. }
                | Output::Publish { .. } => {}
            }
        }
        Ok(())
    }

    fn tell(&mut self, event: Event, now: Now) -> Result<(), CommandError> {
        match event {
            Event::MessageReceived(message) => {
                if let Content::Text(text) = &message.content {
                    println!("  {} reads: \"{text}\" ({:?})", self.name, message.via);
                }
                let message = message.id;
                for command in [Command::Stored { message }, Command::MarkRead { message }] {
                    let input = Input::Command(RequestId(0), command);
                    self.core.handle(input, now)?;
                }
            }
            Event::StateChanged { state, .. } => println!("  {}'s message: {state}", self.name),
            Event::Answer {
                answer: Answer::Invite(text),
                ..
            } => self.invite = text,
            Event::Answer { .. }
            | Event::ContactAdded { .. }
            | Event::ContactChanged { .. }
            | Event::Seen { .. } => {}
        }
        Ok(())
    }

    fn command(&mut self, command: Command, now: Now) -> Result<(), CommandError> {
        self.take(Input::Command(RequestId(1), command), now)
    }

    fn say(&mut self, to: Address, text: &str, now: Now) -> Result<(), CommandError> {
        println!("  {} writes: \"{text}\"", self.name);
        let command = Command::Send {
            to,
            text: text.to_owned(),
            lifetime: None,
            urgency: Urgency::Normal,
        };
        self.command(command, now)
    }
}

/// Gives the other phone what this one has sent.
fn hear(one: &mut Phone, other: &mut Phone, now: Now) -> Result<(), CommandError> {
    let from = one.address();
    for payload in std::mem::take(&mut one.packets) {
        other.take(Input::Packet { from, payload }, now)?;
    }
    other.take(Input::Tick, now)
}

/// Lets both phones hear each other for two seconds.
fn together(alice: &mut Phone, brandon: &mut Phone, mut now: Now) -> Result<(), CommandError> {
    let found = |whom: &Phone| Input::PathUp {
        address: whom.address(),
        key: whom.identity.key(),
        payload_bytes: 1_200,
    };
    alice.take(found(brandon), now)?;
    brandon.take(found(alice), now)?;
    for _ in 0..40 {
        now = now.after(Duration::from_millis(50));
        hear(alice, brandon, now)?;
        hear(brandon, alice, now)?;
    }
    Ok(())
}

fn main() -> Result<(), CommandError> {
    let mut now = Now {
        instant: Instant::ZERO,
        unix: UnixTime::from_secs(1_795_400_000),
    };
    let mut alice = Phone::new("Alice", 1, now);
    let mut brandon = Phone::new("Brandon", 2, now);

    println!("Brandon shows his code; Alice scans it.");
    let name = "Brandon".to_owned();
    brandon.command(Command::Invite { name }, now)?;
    let text = brandon.invite.clone();
    let start = text.get(..40).unwrap_or_default();
    println!("  {start}… ({} characters)", text.len());
    alice.command(Command::AddContact { text, name: None }, now)?;

    println!("The next day they are a valley apart.");
    now = now.after(Duration::from_secs(86_400));
    alice.say(brandon.address(), "the bridge is open again", now)?;
    now = now.after(Duration::from_secs(3));
    alice.take(Input::Tick, now)?;

    println!("A walker takes the letter along, and meets Brandon in the evening.");
    now = now.after(Duration::from_secs(30_000));
    for sealed in std::mem::take(&mut alice.letters) {
        brandon.take(Input::Bundle { sealed }, now)?;
    }

    println!("On market day they are in reach of each other.");
    now = now.after(Duration::from_secs(86_400));
    brandon.say(alice.address(), "so I have heard; coffee?", now)?;
    together(&mut alice, &mut brandon, now)
}
