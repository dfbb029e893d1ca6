//! Valid FastCGI conversations and what can be wrong with them. The same seed makes the same conversations; nothing
//! here talks to a server.

use cornac_tests::Request;
use cornac_tests::client::record;

pub(crate) const BEGIN_REQUEST: u8 = 1;
pub(crate) const ABORT_REQUEST: u8 = 2;
pub(crate) const PARAMS: u8 = 4;
pub(crate) const STDIN: u8 = 5;
pub(crate) const GET_VALUES: u8 = 9;

/// Random numbers (xorshift64*), the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    /// `number` tells the conversations of one seed apart.
    pub(crate) fn new(seed: u64, number: usize) -> Random {
        let mut random = Random((seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1);
        random.bytes(4);
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        ((self.next() >> 16) % limit as u64) as usize
    }

    /// Any of these.
    pub(crate) fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// Records, each with its header; after a mutation not necessarily whole ones.
pub(crate) type Records = Vec<Vec<u8>>;

/// Cuts valid bytes into their records.
pub(crate) fn records(mut bytes: &[u8]) -> Records {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let length = 8 + usize::from(u16::from_be_bytes([bytes[4], bytes[5]])) + usize::from(bytes[6]);
        let (one, rest) = bytes.split_at(length);
        records.push(one.to_vec());
        bytes = rest;
    }
    records
}

/// A management record: as [`record`], but of no request.
pub(crate) fn management(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = record(kind, content);
    bytes[3] = 0;
    bytes
}

/// One name-value pair with short lengths.
pub(crate) fn pair(name: &str, value: &str) -> Vec<u8> {
    let lengths = [name.len() as u8, value.len() as u8];
    [&lengths, name.as_bytes(), value.as_bytes()].concat()
}

/// A valid conversation, of requests made by `get` and `post`.
pub(crate) fn valid(random: &mut Random, get: &Request, post: &Request) -> Records {
    let bytes = match random.below(5) {
        0 => get.encode(),
        1 => get.clone().keep().encode(),
        2 => post.encode(),
        3 => [get.clone().keep().encode(), post.clone().keep().encode()].concat(),
        _ => [management(GET_VALUES, &pair("FCGI_MPXS_CONNS", "")), post.encode()].concat(),
    };
    records(&bytes)
}

/// A change with its name.
pub(crate) type Mutation = (&'static str, fn(&mut Random, &mut Records));

/// Everything that can be wrong.
pub(crate) const MUTATIONS: [Mutation; 18] = [
    ("truncated", |random, all| {
        let mut bytes = all.concat();
        bytes.truncate(random.below(bytes.len()));
        *all = vec![bytes];
    }),
    ("bytes changed", |random, all| {
        for _ in 0..=random.below(8) {
            let one = any(random, all);
            let place = random.below(one.len());
            one[place] = random.next() as u8;
        }
    }),
    ("length lies", |random, all| {
        let lie = random.one_of(&[0, 1, 7, 255, 4096, 65_535]);
        any(random, all)[4..6].copy_from_slice(&u16::to_be_bytes(lie));
    }),
    ("length a little off", |random, all| {
        let one = any(random, all);
        let length = u16::from_be_bytes([one[4], one[5]]);
        let off = if random.below(2) == 0 { length.wrapping_sub(1) } else { length.wrapping_add(1) };
        one[4..6].copy_from_slice(&off.to_be_bytes());
    }),
    ("padding lies", |random, all| {
        any(random, all)[6] = random.one_of(&[0, 1, 8, 127, 255]);
    }),
    ("wrong id", |random, all| {
        let id = random.one_of(&[0, 2, 256, 65_535]);
        any(random, all)[2..4].copy_from_slice(&u16::to_be_bytes(id));
    }),
    ("wrong version", |random, all| any(random, all)[0] = random.one_of(&[0, 2, 255])),
    ("wrong type", |random, all| any(random, all)[1] = random.below(256) as u8),
    ("pairs split", |random, all| {
        let size = 1 + random.below(90);
        let split = |one: Vec<u8>| match params(&one) {
            Some(content) => content.chunks(size).map(|piece| record(PARAMS, piece)).collect(),
            None => vec![one],
        };
        *all = std::mem::take(all).into_iter().flat_map(split).collect();
    }),
    ("pair length huge", |random, all| {
        let huge = random.one_of(&[0xffff_ffff_u32, 0x8000_0000, 0xffff_0000, 0x8001_0000]).to_be_bytes();
        let value = random.bytes(random.0 as usize % 300);
        let content = if random.below(2) == 0 {
            [&huge[..], &[1], &value].concat()
        } else {
            [&[1][..], &huge, &value].concat()
        };
        let place = 1 + random.below(all.len() - 1);
        all.insert(place, record(PARAMS, &content));
    }),
    ("garbage", |random, all| {
        let length = 1 + random.below(5000);
        *all = vec![random.bytes(length)];
    }),
    ("garbage between", |random, all| {
        let (place, length) = (random.below(all.len() + 1), 1 + random.below(100));
        all.insert(place, random.bytes(length));
    }),
    ("order changed", |random, all| {
        for last in (1..all.len()).rev() {
            all.swap(last, random.below(last + 1));
        }
    }),
    ("record repeated", |random, all| {
        let one = any(random, all).clone();
        (0..=random.below(3)).for_each(|_| all.insert(random.below(all.len() + 1), one.clone()));
    }),
    ("record missing", |random, all| drop(all.remove(random.below(all.len())))),
    ("data after the end", |random, all| {
        let more = all.concat();
        all.push(if random.below(2) == 0 { more } else { random.bytes(4000) });
    }),
    ("many empty records", |random, all| {
        let kind = random.one_of(&[PARAMS, STDIN, 8, 200]);
        let place = random.below(all.len() + 1);
        all.insert(place, record(kind, b"").repeat(1 + random.below(4000)));
    }),
    ("no FastCGI", |random, all| {
        let http = b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n".to_vec();
        let tls = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), random.bytes(500)].concat();
        *all = vec![if random.below(2) == 0 { http } else { tls }];
    }),
];

/// Values of CONTENT_LENGTH that do not say how long the body is.
pub(crate) const FALSE_LENGTHS: [&str; 8] =
    ["0", "1", "4999", "5001", "-1", "999999999999", "9223372036854775807", "1e3 bytes"];

fn any<'a>(random: &mut Random, all: &'a mut Records) -> &'a mut Vec<u8> {
    let place = random.below(all.len());
    &mut all[place]
}

fn params(one: &[u8]) -> Option<&[u8]> {
    let length = usize::from(u16::from_be_bytes([one[4], one[5]]));
    (one[1] == PARAMS && length > 0).then(|| &one[8..8 + length])
}
