//! Snapshots with sound hashes in which one field is missing, doubled, unknown, too large, or out of order: each is refused
//! with its place and changes nothing, or is a state that the node can be in.

use std::sync::{Arc, Mutex};

use bb_ir::Digest;
use bb_runtime::{
    Completion, EngineStep, Node, NodeConfig, NodeSnapshot, RestoreError, TensorMap, Time, Value,
};

use crate::common::rich::{at, fresh, invoke, limits, rich};
use crate::common::snapshot_file::{file, sections};
use crate::common::{outcome, settle};

/// A field of a message.
#[derive(Clone, Debug)]
struct Field {
    number: u64,
    held: Held,
}

#[derive(Clone, Debug)]
enum Held {
    Number(u64),
    Fixed([u8; 8]),
    /// Bytes, and the same as a message if they can be read as one.
    Bytes(Vec<u8>, Option<Vec<Field>>),
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The fields of a message; none if the bytes are none.
fn parse(mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let held = match tag & 7 {
            0 => Held::Number(varint(&mut bytes)?),
            1 => {
                let (fixed, rest) = bytes.split_first_chunk()?;
                bytes = rest;
                Held::Fixed(*fixed)
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (held, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Held::Bytes(held.to_vec(), parse(held).filter(|fields| !fields.is_empty()))
            }
            _ => return None,
        };
        (tag >> 3 > 0).then_some(())?;
        fields.push(Field { number: tag >> 3, held });
    }
    Some(fields)
}

fn encode(fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    for Field { number, held } in fields {
        match held {
            Held::Number(value) => {
                put_varint(&mut out, number << 3);
                put_varint(&mut out, *value);
            }
            Held::Fixed(bytes) => {
                put_varint(&mut out, number << 3 | 1);
                out.extend(bytes);
            }
            Held::Bytes(bytes, _) => {
                put_varint(&mut out, number << 3 | 2);
                put_varint(&mut out, bytes.len() as u64);
                out.extend(bytes);
            }
        }
    }
    out
}

/// What a field can be turned into; each is another mistake.
fn turned(field: &Field) -> Vec<Vec<Field>> {
    let Field { number, held } = field;
    let other = |held| vec![Field { number: *number, held }];
    let bytes = |bytes: Vec<u8>| other(Held::Bytes(bytes, None));
    let mut all = vec![Vec::new(), vec![field.clone(), field.clone()]];
    match held {
        Held::Number(value) => {
            all.extend([value.wrapping_add(1), u64::MAX].map(|value| other(Held::Number(value))));
            all.push(bytes(vec![1]));
        }
        Held::Fixed(_) => all.push(other(Held::Number(1))),
        Held::Bytes(held, _) => {
            all.push(bytes(Vec::new()));
            all.push(bytes([&held[..], &[0xff]].concat()));
            all.push(bytes([&[0xff], held.get(1..).unwrap_or_default()].concat()));
            all.push(other(Held::Number(7)));
        }
    }
    all
}

/// Every message with one mistake, in its fields or so many messages deeper. Of a list only its ends are tried.
fn mistakes(fields: &[Field], depth: usize, see: &mut dyn FnMut(Vec<u8>)) {
    let unknown = Field { number: 1_000, held: Held::Number(1) };
    see(encode(&[fields, &[unknown]].concat()));
    for (index, field) in fields.iter().enumerate() {
        let with = |other: &[Field]| [&fields[..index], other, &fields[index + 1..]].concat();
        let is_like = |other: Option<&Field>| other.is_some_and(|other| other.number == field.number);
        if is_like(index.checked_sub(1).and_then(|before| fields.get(before))) {
            let mut swapped = fields.to_vec();
            swapped.swap(index - 1, index);
            see(encode(&swapped));
            if is_like(fields.get(index + 1)) {
                continue;
            }
        }
        turned(field).iter().for_each(|turned| see(encode(&with(turned))));
        if let Held::Bytes(_, Some(inner)) = &field.held
            && depth > 0
        {
            mistakes(inner, depth - 1, &mut |inner| {
                let held = Held::Bytes(inner, None);
                see(encode(&with(&[Field { number: field.number, held }])));
            });
        }
    }
}

/// A node to restore, what its component owes, and what it was when nothing had happened.
struct Target {
    node: Node,
    owed: Arc<Mutex<Vec<Completion<TensorMap>>>>,
    clean: NodeSnapshot,
    digest: Digest,
}

impl Target {
    fn new() -> Self {
        let (node, owed) = fresh(limits());
        let (clean, digest) = (node.snapshot().unwrap(), node.state_digest().unwrap());
        Self { node, owed, clean, digest }
    }

    /// Whether a file is refused, and then changes nothing; what is not refused can be run.
    fn refuses(&mut self, file: Vec<u8>) -> bool {
        let restored = NodeSnapshot::decode(file).and_then(|snapshot| self.node.restore(snapshot));
        let is_refused = restored.is_err();
        if !is_refused {
            for second in 10..14 {
                drop(self.node.step(at(second * 40)));
            }
            self.node.snapshot().unwrap();
        }
        // What a component took up is forgotten with it.
        self.owed.lock().unwrap().clear();
        match restored {
            Ok(()) => self.node.restore(&self.clean).unwrap(),
            Err(RestoreError::Corrupt { section, fault }) => assert!(!section.is_empty(), "{fault}"),
            Err(_) => {}
        }
        assert_eq!(self.node.state_digest().unwrap(), self.digest);
        is_refused
    }
}

#[test]
fn a_snapshot_with_one_mistake_is_refused_with_its_place_or_can_be_run() {
    let (good, _owed) = rich();
    let bytes = good.snapshot().unwrap().encode().to_vec();
    let parts = sections(&bytes);
    let mut target = Target::new();
    assert!(!target.refuses(bytes.clone()));
    let (mut refused, mut run) = (0, 0);
    for (number, section) in &parts {
        let fields = parse(section).expect("a section is a message");
        assert_eq!(parse(&encode(&fields)).map(|fields| encode(&fields)), Some(encode(&fields)));
        mistakes(&fields, 3, &mut |section| {
            let mut parts = parts.clone();
            parts.insert(*number, section);
            match target.refuses(file(&bytes, &parts)) {
                true => refused += 1,
                false => run += 1,
            }
        });
    }
    assert!(refused > 1_000 && run > 100, "{refused} refused, {run} run");
}

#[test]
fn a_table_that_is_longer_than_it_may_be_here_is_refused_with_its_limit() {
    let (good, _owed) = rich();
    let saved = good.snapshot().unwrap();
    let small: [(&str, NodeConfig); 10] = [
        ("executions", limits().with_executions(1)),
        ("pending_async", limits().with_pending_async(1)),
        ("ingress_queue", limits().with_ingress_queue(1)),
        ("outbound_count", limits().with_outbound_count(1)),
        ("holds", limits().with_holds(1)),
        ("records", limits().with_records(1)),
        ("timers", limits().with_timers(1)),
        ("dedup_window", limits().with_dedup_window(1)),
        ("health_entries", limits().with_health_entries(1)),
        ("address_book_peers", limits().with_address_book_peers(1)),
    ];
    for (limit, limits) in small {
        let (mut node, _) = fresh(limits);
        let before = node.state_digest().unwrap();
        let error = node.restore(&saved).expect_err(limit);
        assert!(matches!(error, RestoreError::LimitExceeded { cap: 1, .. }), "{limit}: {error}");
        assert_eq!(node.state_digest().unwrap(), before, "{limit}");
    }
}

/// The header of a snapshot without a key ends where its sections begin; its last 32 bytes are a hash of the rest.
fn with_header(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let count = u32::from_le_bytes(bytes[HEAD - 4..HEAD].try_into().unwrap()) as usize;
    let (head, body) = bytes.split_at(HEAD + count * ENTRY);
    let mut head = head.to_vec();
    change(&mut head);
    let hash = *blake3::hash(&head).as_bytes();
    [&head[..], &hash, &body[32..]].concat()
}

const HEAD: usize = 8 + 4 + 4 + 32 + 8 + 65 + 4;
const ENTRY: usize = 44;

#[test]
fn a_header_with_one_mistake_is_refused() {
    let (good, _owed) = rich();
    let bytes = good.snapshot().unwrap().encode().to_vec();
    let incarnation = 16 + 32;
    let peer = incarnation + 8;
    NodeSnapshot::decode(with_header(&bytes, |_| ())).unwrap();
    let refused: [(&str, Vec<u8>); 9] = [
        ("its magic", with_header(&bytes, |head| head[0] = b'B')),
        ("its way of signing", with_header(&bytes, |head| head[12] = 2)),
        ("a peer id longer than there is room", with_header(&bytes, |head| head[peer] = 65)),
        ("something behind the peer id", with_header(&bytes, |head| head[peer + 64] = 1)),
        ("a peer id that is none", with_header(&bytes, |head| head[peer + 1] = 0xff)),
        ("a section longer than the file", with_header(&bytes, |head| head[HEAD + 11] = 0x7f)),
        ("a section shorter than it is", with_header(&bytes, |head| head[HEAD + 4] -= 1)),
        ("a section twice", with_header(&bytes, |head| head.copy_within(HEAD..HEAD + 4, HEAD + ENTRY))),
        ("more sections than there can be", {
            let mut bytes = bytes.clone();
            bytes[HEAD - 4..HEAD].copy_from_slice(&65_u32.to_le_bytes());
            bytes
        }),
    ];
    for (mistake, bytes) in refused {
        match NodeSnapshot::decode(bytes) {
            Err(RestoreError::Corrupt { section, .. }) => assert_eq!(section, "header", "{mistake}"),
            other => panic!("{mistake}: {other:?}"),
        }
    }
    // An incarnation after which there is none.
    let (mut node, _) = fresh(limits());
    let last = with_header(&bytes, |head| head[incarnation..incarnation + 8].fill(0xff));
    let error = node.restore(NodeSnapshot::decode(last).unwrap()).unwrap_err();
    assert!(matches!(&error, RestoreError::LimitExceeded { limit, .. } if limit == "incarnation"), "{error}");
    assert_eq!(node.incarnation(), 1);
    let shown = format!("{:?}", good.snapshot().unwrap());
    assert!(shown.contains("incarnation: 1") && shown.len() < 500, "{shown}");
}

#[test]
fn time_has_an_end_and_a_node_that_is_there_works_on() {
    let (mut node, _) = fresh(limits());
    let is_tick =
        |step: &EngineStep| matches!(step, EngineStep::AppEvent { output, .. } if *output == "Interval");
    let ticks = |steps: Vec<EngineStep>| steps.iter().filter(|step| is_tick(step)).count();
    assert_eq!(ticks(node.step(at(1))), 0);
    assert_eq!(ticks(settle(&mut node, Time::MAX)), 1);
    assert_eq!(ticks(settle(&mut node, Time::MAX)), 0);
    let run = invoke(&mut node, "Keep", &[("key", Value::I64(1)), ("x", Value::I64(2))]);
    assert!(outcome(&settle(&mut node, Time::MAX), run).is_completed());
}
