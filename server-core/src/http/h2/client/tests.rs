use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Arguments;
use std::fs::File;
use std::io::Write as _;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::*;
use crate::http::h2::frame::{self, HEAD_LEN, Head, Kind, PREFACE, flags, settings};
use crate::http::h2::hpack;
use crate::http::output::Data;
use crate::upstream::windows::Windows;

/// Keeps the errors.
#[derive(Default)]
struct Ear(RefCell<Vec<String>>);

impl Speaker for Ear {
    fn is_debug(&self) -> bool {
        false
    }

    fn debug(&self, _: Arguments<'_>) {}

    fn error(&self, pieces: &[&[u8]]) {
        self.0.borrow_mut().push(String::from_utf8_lossy(&pieces.concat()).into_owned());
    }
}

/// One request and its server.
struct Peer {
    ear: Rc<Ear>,
    flow: Rc<Flow>,
    windows: Rc<Windows>,
    framer: Framer,
    reader: Reader,
}

impl Peer {
    fn new(body: impl IntoIterator<Item = Data>) -> Self {
        Self::on(Rc::new(Windows::new()), body, false)
    }

    fn on(windows: Rc<Windows>, body: impl IntoIterator<Item = Data>, is_open: bool) -> Self {
        let ear = Rc::new(Ear::default());
        let flow = Rc::new(Flow::new(Rc::clone(&ear) as Rc<dyn Speaker>));
        flow.begin(Rc::clone(&windows));
        let block: Rc<[u8]> = b"\x82\x86\x84".as_slice().into();
        let framer = Framer::new(Rc::clone(&flow), block, body.into_iter().collect(), is_open);
        let reader = Reader::new(Rc::clone(&flow), 4096);
        Self { ear, flow, windows, framer, reader }
    }

    /// What is sent now.
    fn sent(&mut self) -> Vec<u8> {
        let mut pieces = VecDeque::new();
        self.framer.advance(&mut pieces).unwrap();
        let bytes = |piece| match piece {
            Data::Bytes(bytes) => bytes,
            Data::None | Data::File { .. } => panic!("only bytes are sent"),
        };
        pieces.into_iter().flat_map(bytes).collect()
    }

    /// The frames that are sent now: kind, flags, stream and payload.
    fn frames(&mut self) -> Vec<(Kind, u8, u32, Vec<u8>)> {
        frames(&self.sent())
    }

    /// All that comes out of `input`: status, body; the error is the first one.
    fn read(&mut self, input: &[u8]) -> Result<(Option<u16>, Vec<u8>), String> {
        let (mut status, mut body) = (None, Vec::new());
        let mut input = BytesMut::from(input);
        loop {
            match self.reader.next(&mut input) {
                Ok(Piece::Nothing) => return Ok((status, body)),
                Ok(Piece::Head(head, _)) => status = Some(head),
                Ok(Piece::Hints(_)) => {}
                Ok(Piece::Data(part)) => body.extend_from_slice(&part),
                Err(Broken) => return Err(self.ear.0.borrow().first().cloned().unwrap_or_default()),
            }
        }
    }
}

fn frames(mut bytes: &[u8]) -> Vec<(Kind, u8, u32, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some(head) = Head::parse(bytes) {
        let (frame, rest) = bytes.split_at(HEAD_LEN + head.len);
        all.push((head.kind, head.flags, head.stream, frame[HEAD_LEN..].to_vec()));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half a frame");
    all
}

fn frame(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::push_head(&mut out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
    out
}

fn headers(flags: u8, block: &[u8]) -> Vec<u8> {
    frame(Kind::Headers, flags | flags::END_HEADERS, 1, block)
}

fn data(flags: u8, text: &[u8]) -> Vec<u8> {
    frame(Kind::Data, flags, 1, text)
}

fn ok() -> Vec<u8> {
    headers(0, b"\x88")
}

fn bytes(text: &'static [u8]) -> Data {
    Data::Bytes(Bytes::from_static(text))
}

#[test]
fn a_connection_begins_with_its_preface_once() {
    let mut peer = Peer::new([]);
    let sent = peer.sent();
    let rest = sent.strip_prefix(PREFACE).unwrap();
    let frames = frames(rest);
    let kinds: Vec<Kind> = frames.iter().map(|frame| frame.0).collect();
    assert_eq!(kinds, [Kind::Settings, Kind::WindowUpdate, Kind::Headers]);
    assert_eq!(frames[2], (Kind::Headers, flags::END_STREAM | flags::END_HEADERS, 1, b"\x82\x86\x84".to_vec()));
    assert!(peer.framer.is_done());
    let mut next = Peer::on(Rc::clone(&peer.windows), [], false);
    assert_eq!(next.frames()[0].2, 3);
}

#[test]
fn small_parts_share_a_frame_and_the_last_one_ends_the_stream() {
    let mut peer = Peer::new([bytes(b"ab"), bytes(b""), bytes(b"cd")]);
    let sent = peer.sent();
    let frames = frames(&sent[PREFACE.len()..]);
    assert_eq!(frames[2].1, flags::END_HEADERS);
    assert_eq!(frames[3], (Kind::Data, flags::END_STREAM, 1, b"abcd".to_vec()));
}

#[test]
fn an_open_body_ends_with_an_empty_frame() {
    let mut peer = Peer::on(Rc::new(Windows::new()), [], true);
    peer.sent();
    assert!(!peer.framer.is_done() && !peer.framer.has_frames());
    peer.framer.extend([Bytes::from_static(b"part")]);
    assert_eq!(peer.frames(), [(Kind::Data, 0, 1, b"part".to_vec())]);
    peer.framer.close();
    assert_eq!(peer.frames(), [(Kind::Data, flags::END_STREAM, 1, Vec::new())]);
    assert!(peer.framer.is_done());
}

#[test]
fn a_body_waits_for_the_windows_whether_in_memory_or_in_a_file() {
    let text: Vec<u8> = (0..100_000u32).map(|at| at as u8).collect();
    let name = std::env::temp_dir().join(format!("rsty-h2-client-{}", std::process::id()));
    let mut file = File::create_new(&name).unwrap();
    file.write_all(&text).unwrap();
    let file = Rc::new(File::open(&name).unwrap());
    std::fs::remove_file(&name).unwrap();
    let in_file = Data::File { file, start: 0, end: text.len() as u64 };
    for body in [Data::Bytes(text.clone().into()), in_file] {
        let mut peer = Peer::new([body]);
        let mut sent = peer.sent().split_off(PREFACE.len());
        while peer.framer.has_frames() {
            sent.extend(peer.sent());
        }
        let body_of = |sent: &[u8]| -> Vec<u8> {
            frames(sent).into_iter().filter(|frame| frame.0 == Kind::Data).flat_map(|frame| frame.3).collect()
        };
        assert_eq!(body_of(&sent).len(), 65_535);
        assert_eq!(peer.sent(), b"");
        // The connection alone does not help, nor does the stream.
        peer.read(&frame(Kind::WindowUpdate, 0, 0, &[0, 1, 0, 0])).unwrap();
        assert_eq!(peer.sent(), b"");
        peer.read(&frame(Kind::WindowUpdate, 0, 1, &[0, 1, 0, 0])).unwrap();
        let rest = peer.sent();
        assert_eq!([body_of(&sent), body_of(&rest)].concat(), text);
        assert_eq!(frames(&rest).last().unwrap().1, flags::END_STREAM);
        assert!(peer.framer.is_done());
    }
}

#[test]
fn settings_change_windows_even_below_nothing() {
    let mut peer = Peer::new([Data::Bytes(vec![b'x'; 30_000].into())]);
    peer.sent();
    let window = |size: u32| {
        let mut out = Vec::new();
        frame::push_settings(&mut out, &[(settings::INITIAL_WINDOW_SIZE, size)]);
        out
    };
    peer.read(&window(10_000)).unwrap();
    assert_eq!((peer.flow.room(), peer.windows.initial.get()), (0, 10_000));
    peer.read(&window(40_000)).unwrap();
    assert_eq!(peer.flow.room(), 10_000);
    assert_eq!(peer.frames(), vec![(Kind::Settings, flags::ACK, 0, Vec::new()); 2]);
    let error = peer.read(&window(0x8000_0000)).unwrap_err();
    assert_eq!(error, "upstream sent settings frame with too large initial window size: 2147483648");
    // The connection remembers what it learned.
    let next = Peer::on(Rc::clone(&peer.windows), [], false);
    assert_eq!(next.flow.room(), 35_535);
}

#[test]
fn a_response_is_read_however_it_is_cut() {
    let mut padded = vec![3];
    padded.extend_from_slice(b"lo, \0\0\0");
    let all = [
        frame(Kind::Settings, 0, 0, &[0, 3, 0, 0, 0, 9]),
        frame(Kind::Unknown(77), 0xff, 0, b"whatever"),
        headers(0, b"\x08\x03103\x00\x04link\x01a"),
        frame(Kind::Headers, flags::PADDED | flags::PRIORITY, 1, b"\x02\0\0\0\0\x07\x88\x00\x01a\0\0"),
        frame(Kind::Continuation, flags::END_HEADERS, 1, b"\x01b"),
        data(0, b"hel"),
        frame(Kind::Ping, 0, 0, b"12345678"),
        data(flags::PADDED, &padded),
        data(0, b"you"),
        headers(flags::END_STREAM, b"\x00\x0bgrpc-status\x010"),
        frame(Kind::RstStream, 0, 1, &[0; 4]),
    ]
    .concat();
    for cut in 0..all.len() {
        let mut peer = Peer::new([]);
        peer.sent();
        let (mut status, mut fields, mut hints, mut body) = (None, None, None, Vec::new());
        let mut input = BytesMut::new();
        for part in [&all[..cut], &all[cut..]] {
            input.extend_from_slice(part);
            loop {
                match peer.reader.next(&mut input).unwrap() {
                    Piece::Nothing => break,
                    Piece::Hints(list) => hints = Some(list),
                    Piece::Head(code, list) => (status, fields) = (Some(code), Some(list)),
                    Piece::Data(part) => body.extend_from_slice(&part),
                }
            }
        }
        assert_eq!((status, &body[..], peer.reader.is_done()), (Some(200), &b"hello, you"[..], true), "{cut}");
        assert!(hints.unwrap().named(b"link").any(|field| &field.value[..] == b"a"));
        assert!(fields.unwrap().named(b"a").any(|field| &field.value[..] == b"b"));
        assert_eq!(peer.reader.take_trailers(), b"grpc-status: 0\r\n");
        let answers = [(Kind::Settings, flags::ACK, 0, Vec::new()), (Kind::Ping, flags::ACK, 0, b"12345678".to_vec())];
        assert_eq!(peer.frames(), answers, "{cut}");
        assert!(peer.reader.keeps() && peer.flow.is_flushed());
    }
}

#[test]
fn a_window_is_made_as_large_as_it_was_when_three_quarters_are_used() {
    let mut peer = Peer::new([]);
    peer.sent();
    peer.read(&ok()).unwrap();
    let size = 16_000_000;
    for _ in 0..100 {
        peer.flow.receive(size).unwrap();
    }
    assert_eq!(peer.frames(), []);
    peer.flow.receive(size).unwrap();
    let more = (101 * size as u32).to_be_bytes().to_vec();
    let kind = Kind::WindowUpdate;
    assert_eq!(peer.frames(), [(kind, 0, 0, more.clone()), (kind, 0, 1, more)]);
}

#[test]
fn what_is_wrong_is_said_in_the_words_that_are_known() {
    let empty_settings = frame(Kind::Settings, 0, 0, b"");
    let cases: &[(&[Vec<u8>], &str)] = &[
        (&[b"HTTP/1.1 200 OK".to_vec()], "upstream sent too large http2 frame: 4740180"),
        (&[data(0, b"x")], "upstream sent unexpected http2 frame: 0"),
        (&[frame(Kind::Continuation, 0, 1, b"")], "upstream sent unexpected http2 frame: 9"),
        (&[frame(Kind::Headers, 0, 1, b"\x88"), empty_settings], "upstream sent unexpected http2 frame: 4"),
        (&[frame(Kind::Headers, 4, 3, b"\x88")], "upstream sent frame for unknown stream 3"),
        (&[ok(), frame(Kind::Data, 0, 3, b"x")], "upstream sent data frame for unknown stream 3"),
        (&[ok(), data(1, b""), data(0, b"x")], "upstream sent frame for closed stream 1"),
        (&[frame(Kind::PushPromise, 0, 1, b"")], "upstream sent unexpected push promise frame"),
        (&[frame(Kind::RstStream, 0, 1, &[0, 0, 0, 7])], "upstream rejected request with error 7"),
        (&[ok(), frame(Kind::RstStream, 0, 1, &[0; 4])], "upstream rejected request with error 0"),
        (&[frame(Kind::RstStream, 0, 1, &[0; 3])], "upstream sent rst stream frame with invalid length: 3"),
        (&[frame(Kind::Goaway, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 2])], "upstream sent goaway with error 2"),
        (&[frame(Kind::Goaway, 0, 1, &[0; 8])], "upstream sent goaway frame with non-zero stream id: 1"),
        (&[frame(Kind::Goaway, 0, 0, &[0; 7])], "upstream sent goaway frame with invalid length: 7"),
        (&[frame(Kind::WindowUpdate, 0, 0, &[0; 4])], "upstream sent zero window update"),
        (&[frame(Kind::WindowUpdate, 0, 0, &[0x7f, 0xff, 0xff, 0xff])], "upstream sent too large window update"),
        (&[frame(Kind::WindowUpdate, 0, 1, &[0x7f, 0xff, 0xff, 0xff])], "upstream sent too large window update"),
        (&[frame(Kind::WindowUpdate, 0, 0, &[0; 5])], "upstream sent window update frame with invalid length: 5"),
        (&[frame(Kind::Settings, 0, 1, b"")], "upstream sent settings frame with non-zero stream id: 1"),
        (&[frame(Kind::Settings, 0, 0, b"x")], "upstream sent settings frame with invalid length: 1"),
        (
            &[frame(Kind::Settings, 1, 0, b"123456")],
            "upstream sent settings frame with ack flag and non-zero length: 6",
        ),
        (&[frame(Kind::Ping, 0, 0, b"1234567")], "upstream sent ping frame with invalid length: 7"),
        (&[frame(Kind::Ping, 0, 1, b"12345678")], "upstream sent ping frame with non-zero stream id: 1"),
        (&[frame(Kind::Ping, 1, 0, b"12345678")], "upstream sent ping frame with ack flag"),
        (&[ok(), data(flags::PADDED, b"")], "upstream sent too short http2 frame"),
        (&[ok(), data(flags::PADDED, b"\x02x")], "upstream sent http2 frame with too long padding: 2 in frame 1"),
        (&[headers(flags::PRIORITY, b"1234")], "upstream sent headers frame with invalid length: 4"),
        (&[headers(flags::PADDED, b"\x02x")], "upstream sent http2 frame with too long padding: 2 in frame 1"),
        (&[headers(0, b"\x88\x00\x01a\x02b")], "upstream sent truncated http2 header"),
        (&[headers(0, b"\x88\xbe")], "upstream sent invalid http2 table index: 62"),
        (&[headers(0, b"\x21")], "upstream sent invalid http2 dynamic table size update: 1"),
        (&[headers(0, b"\x88\x00\x00\x00")], "upstream sent zero http2 header name length"),
        (&[headers(0, b"\x88\x00\x81\xfe\x00")], "upstream sent invalid encoded header"),
        (&[headers(0, b"\x88\x0f\x83\x83\x83\x83")], "upstream sent http2 table index with continuation flag"),
        (&[headers(0, b"\x88\x00\x7f\xff\xff\xff\x01")], "upstream sent too large http2 header name length"),
        (&[headers(0, b"\x88\x00\x7f\x82\x1f")], "upstream sent too large http2 header name length: 4097"),
        (&[headers(0, b"\x88\x00\x01a\x7f\x82\x1f")], "upstream sent too large http2 header value length: 4097"),
        (&[headers(0, b"\x88\x00\x01A\x01b")], "upstream sent invalid header: \"A: b\""),
        (&[headers(0, b"\x88\x00\x01a\x01\n")], "upstream sent invalid header: \"a: \n\""),
        (&[headers(0, b"\x00\x01a\x01b")], "upstream sent no :status header"),
        (&[headers(0, b"")], "upstream sent no :status header"),
        (&[headers(0, b"\x84")], "upstream sent invalid header \":path: /\""),
        (&[headers(0, b"\x88\x88")], "upstream sent duplicate :status header"),
        (&[headers(0, b"\x08\x0220")], "upstream sent invalid :status \"20\""),
        (&[headers(0, b"\x08\x03100")], "upstream sent unexpected :status \"100\""),
        (&[headers(1, b"\x08\x03103")], "upstream prematurely closed stream"),
        (&[ok(), headers(1, b"\x88")], "upstream sent invalid trailer \":status: 200\""),
        (&[ok(), headers(0, b"\x00\x01a\x01b")], "upstream sent trailer without end stream flag"),
    ];
    for (input, error) in cases {
        let mut peer = Peer::new([]);
        peer.sent();
        assert_eq!(peer.read(&input.concat()), Err((*error).to_owned()), "{input:02x?}");
        assert!(!peer.reader.keeps());
    }
}

#[test]
fn a_body_is_as_long_as_its_head_says() {
    for (length, text, error) in [
        (3, &b"four"[..], "upstream sent response body larger than indicated content length"),
        (5, b"four", "upstream prematurely closed stream"),
    ] {
        let mut peer = Peer::new([]);
        peer.sent();
        peer.read(&ok()).unwrap();
        peer.reader.expect(Some(length));
        assert_eq!(peer.read(&data(flags::END_STREAM, text)), Err(error.to_owned()));
    }
}

#[test]
fn no_second_request_follows_a_goodbye_or_an_unfinished_request() {
    let mut peer = Peer::new([]);
    peer.sent();
    peer.read(&frame(Kind::Goaway, 0, 0, b"\0\0\0\x01\0\0\0\0why")).unwrap();
    assert_eq!(peer.read(&headers(flags::END_STREAM, b"\x88")), Ok((Some(200), Vec::new())));
    assert!(peer.reader.is_done() && !peer.reader.keeps());

    let mut peer = Peer::on(Rc::new(Windows::new()), [], true);
    peer.sent();
    peer.read(&headers(flags::END_STREAM, b"\x88")).unwrap();
    assert!(peer.reader.is_done() && !peer.reader.keeps());
}

#[test]
fn a_block_without_end_is_too_big_a_header() {
    let mut peer = Peer::new([]);
    peer.sent();
    peer.read(&frame(Kind::Headers, 0, 1, b"\x88")).unwrap();
    let more = frame(Kind::Continuation, 0, 1, b"\x00\x01a\x01b");
    let error = (0..1000).find_map(|_| peer.read(&more).err());
    assert_eq!(error.as_deref(), Some("upstream sent too big header"));
    // Frames that bring nothing count, too.
    let mut peer = Peer::new([]);
    peer.sent();
    peer.read(&frame(Kind::Headers, 0, 1, b"\x88")).unwrap();
    let more = frame(Kind::Continuation, 0, 1, b"");
    assert!((0..1000).any(|_| peer.read(&more).is_err()));
}

#[test]
fn indexed_fields_can_not_become_a_large_head() {
    let mut peer = Peer::new([]);
    peer.sent();
    // `accept-encoding: gzip, deflate` in one byte.
    let block = [&b"\x88"[..], &[0x90; 2000]].concat();
    assert_eq!(peer.read(&headers(0, &block)), Err("upstream sent too large http2 header".to_owned()));
}

#[test]
fn answers_that_nobody_takes_are_counted() {
    for (kind, payload, name) in [(Kind::Ping, &b"12345678"[..], "ping"), (Kind::Settings, b"", "settings")] {
        let mut peer = Peer::new([]);
        peer.sent();
        let one = frame(kind, 0, 0, payload);
        for _ in 0..1001 {
            peer.read(&one).unwrap();
        }
        assert_eq!(peer.read(&one), Err(format!("upstream sent too many {name} frames")));
    }
}

#[test]
fn frames_that_bring_nothing_come_to_an_end() {
    let mut peer = Peer::new([]);
    peer.sent();
    peer.read(&ok()).unwrap();
    let input = frame(Kind::Unknown(99), 0, 0, &[0; 16_000]).repeat(100);
    let error = (0..20).find_map(|_| peer.read(&input).err());
    assert_eq!(error.as_deref(), Some("upstream sent too many http2 frames"));
    // A body of any length is none of them.
    let mut peer = Peer::new([]);
    peer.sent();
    peer.read(&ok()).unwrap();
    let input = data(0, &[0; 16_000]).repeat(100);
    for _ in 0..20 {
        assert_eq!(peer.read(&input).unwrap().1.len(), 1_600_000);
    }
}

#[test]
fn requests_name_what_the_static_table_has() {
    let ear = Ear::default();
    let mut block = RequestBlock::begin(&ear, b"GET", true, b"/", Some(b"a.test")).unwrap();
    block.field(b"X-A", b"b").unwrap();
    let mut expected = b"\x82\x87\x84".to_vec();
    hpack::push_known(&mut expected, hpack::name::AUTHORITY, b"a.test");
    hpack::push_field(&mut expected, b"x-a", b"b");
    assert_eq!(block.finish(), expected);
    let long = vec![b'x'; 127 + (1 << 21)];
    assert!(RequestBlock::begin(&ear, b"GET", false, &long, None).is_err());
    let mut block = RequestBlock::begin(&ear, b"PUT", false, b"/x", None).unwrap();
    assert_eq!(block.field(b"a", &long), Err(Broken));
    assert_eq!(ear.0.borrow()[0], "too long http2 URI");
}
