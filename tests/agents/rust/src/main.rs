//! An agent on the crate spop. The crate reads and writes frames; the loop around it is that of its example `agent_tcp`, which
//! takes one NOTIFY at a time although it announces pipelining. The command line is that of the other agents.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use spop::actions::VarScope;
use spop::frame::{FramePayload, FrameType, Message};
use spop::frames::{Ack, AgentDisconnect, AgentHello, FrameCapabilities, HaproxyHello};
use spop::{MAX_FRAME_SIZE_LIMIT, SpopCodec, StatusCode, TypedData};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::Framed;

type Socket = Framed<TcpStream, SpopCodec>;

#[derive(Clone, Copy)]
struct Delay {
    shortest_ms: u64,
    longest_ms: u64,
}

impl Delay {
    fn parse(text: &str) -> Option<Self> {
        let (shortest, longest) = text.split_once(':')?;
        let delay = Self { shortest_ms: shortest.parse().ok()?, longest_ms: longest.parse().ok()? };
        (delay.shortest_ms <= delay.longest_ms).then_some(delay)
    }

    async fn work(self) {
        let random = RandomState::new().build_hasher().finish(); // it is seeded anew each time
        let delay_ms = self.shortest_ms + random % (self.longest_ms - self.shortest_ms + 1);
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
    }
}

fn options() -> Option<(String, Delay)> {
    let mut options = (String::from("127.0.0.1:0"), Delay { shortest_ms: 0, longest_ms: 0 });
    let mut words = std::env::args().skip(1);
    while let Some(option) = words.next() {
        let value = words.next()?;
        match option.as_str() {
            "--listen" => options.0 = value,
            "--delay-ms" => options.1 = Delay::parse(&value)?,
            _ => return None,
        }
    }
    Some(options)
}

/// The version of spop that Cargo.lock pins, and cargo built with.
fn version() -> &'static str {
    let (_, entry) = include_str!("../Cargo.lock").split_once("name = \"spop\"\nversion = \"").unwrap_or_default();
    entry.split('"').next().unwrap_or_default()
}

#[tokio::main]
async fn main() -> Result<()> {
    let Some((listen, delay)) = options() else {
        eprintln!("usage: agent [--listen HOST:PORT] [--delay-ms MIN:MAX]");
        std::process::exit(2);
    };
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    println!(r#"{{"address": "{address}", "library": "spop", "version": "{}"}}"#, version());
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = serve(stream, delay).await {
                eprintln!("{error}");
            }
        });
    }
}

async fn serve(stream: TcpStream, delay: Delay) -> Result<()> {
    let mut socket = Framed::new(stream, SpopCodec::default());
    while let Some(frame) = socket.next().await {
        let frame = frame?;
        match frame.frame_type() {
            FrameType::HaproxyHello => {
                let hello = HaproxyHello::try_from(frame.payload())
                    .map_err(|_| Error::new(ErrorKind::InvalidData, "not a HAPROXY-HELLO"))?;
                if !greet(&mut socket, &hello).await? {
                    return Ok(());
                }
            }
            FrameType::HaproxyDisconnect => return disconnect(&mut socket, StatusCode::None).await,
            FrameType::Notify => {
                if let FramePayload::ListOfMessages(messages) = &frame.payload() {
                    let ack = Ack::new(frame.metadata().stream_id, frame.metadata().frame_id);
                    let ack = answer(messages, ack);
                    delay.work().await;
                    socket.send(Box::new(ack)).await?;
                }
            }
            other => eprintln!("unsupported frame type {other:?}"),
        }
    }
    Ok(())
}

/// Answer HAPROXY-HELLO; whether the conversation goes on.
async fn greet(socket: &mut Socket, hello: &HaproxyHello) -> Result<bool> {
    let Some(version) = hello.negotiate_version() else {
        disconnect(socket, StatusCode::BadVersion).await?;
        return Ok(false);
    };
    let max_frame_size = match hello.negotiate_max_frame_size(MAX_FRAME_SIZE_LIMIT) {
        Ok(size) => size,
        Err(status) => {
            disconnect(socket, status).await?;
            return Ok(false);
        }
    };
    socket.codec_mut().set_max_frame_size(max_frame_size);
    let capabilities = vec![FrameCapabilities::Pipelining];
    socket.send(Box::new(AgentHello { version, max_frame_size, capabilities })).await?;
    Ok(!hello.healthcheck.unwrap_or(false))
}

fn answer(messages: &[Message], ack: Ack) -> Ack {
    let echo = messages.iter().find_map(|message| message.get("path")).cloned();
    ack.set_var(VarScope::Transaction, "allowed", true)
        .set_var(VarScope::Transaction, "echo", echo.unwrap_or(TypedData::Null))
}

async fn disconnect(socket: &mut Socket, status: StatusCode) -> Result<()> {
    let frame = AgentDisconnect { status_code: status.to_u32(), message: status.message().to_string() };
    socket.send(Box::new(frame)).await?;
    socket.close().await
}
