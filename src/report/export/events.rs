//! TensorBoard event files: TFRecord records with `Event` protocol buffers (event.proto and summary.proto of
//! TensorFlow), encoded by hand.

/// An event file.
pub struct Events {
    bytes: Vec<u8>,
}

pub enum EventValue<'a> {
    Scalar(f64),
    /// Markdown.
    Text(&'a str),
    /// PNG file, width, height.
    Picture(&'a [u8], u32, u32),
}

impl Events {
    /// Starts a file; `time` is in seconds since 1970.
    pub fn new(time: f64) -> Self {
        let mut events = Self { bytes: Vec::new() };
        let mut event = ProtoMessage::default();
        event.double(1, time);
        event.bytes(3, b"brain.Event:2");
        events.record(&event.0);
        events
    }

    /// Adds a value; `describe` is the description of the tag in TensorBoard.
    pub fn add(&mut self, time: f64, step: i64, tag: &str, describe: &str, value: &EventValue) {
        let mut metadata = ProtoMessage::default();
        let mut one = ProtoMessage::default();
        one.bytes(1, tag.as_bytes());
        match value {
            EventValue::Scalar(number) => one.float(2, *number as f32),
            EventValue::Picture(file, width, height) => {
                let mut image = ProtoMessage::default();
                image.varint(1, u64::from(*height));
                image.varint(2, u64::from(*width));
                image.varint(3, 3);
                image.bytes(4, file);
                one.bytes(4, &image.0);
            }
            EventValue::Text(text) => {
                let mut plugin = ProtoMessage::default();
                plugin.bytes(1, b"text");
                metadata.bytes(1, &plugin.0);
                let mut dimension = ProtoMessage::default();
                dimension.varint(1, 1);
                let mut shape = ProtoMessage::default();
                shape.bytes(2, &dimension.0);
                let mut tensor = ProtoMessage::default();
                // DT_STRING
                tensor.varint(1, 7);
                tensor.bytes(2, &shape.0);
                tensor.bytes(8, text.as_bytes());
                one.bytes(8, &tensor.0);
            }
        }
        if !describe.is_empty() {
            metadata.bytes(3, describe.as_bytes());
        }
        if !metadata.0.is_empty() {
            one.bytes(9, &metadata.0);
        }
        let mut summary = ProtoMessage::default();
        summary.bytes(1, &one.0);
        let mut event = ProtoMessage::default();
        event.double(1, time);
        // Negative steps do not occur.
        event.varint(2, step.unsigned_abs());
        event.bytes(5, &summary.0);
        self.record(&event.0);
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// A TFRecord: length, its checksum, data, their checksum.
    fn record(&mut self, data: &[u8]) {
        let length = (data.len() as u64).to_le_bytes();
        self.bytes.extend(length);
        self.bytes.extend(masked(&length));
        self.bytes.extend(data);
        self.bytes.extend(masked(data));
    }
}

/// The masked CRC-32C of TFRecord.
fn masked(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// A protocol buffer message.
#[derive(Default)]
struct ProtoMessage(Vec<u8>);

impl ProtoMessage {
    fn key(&mut self, field: u64, wire: u64) {
        self.number(field << 3 | wire);
    }

    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn varint(&mut self, field: u64, value: u64) {
        self.key(field, 0);
        self.number(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.key(field, 2);
        self.number(value.len() as u64);
        self.0.extend(value);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_lengths_and_checksums_of_the_format() {
        let mut events = Events::new(1.5);
        events.add(2.0, 300, "fitness", "", &EventValue::Scalar(0.5));
        let bytes = events.into_bytes();
        // The first record of every file that TensorFlow writes at second 1.5.
        let version = [
            &24u64.to_le_bytes()[..],
            &[0xa3, 0x7f, 0x4b, 0x22],
            &[0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0x1a, 0x0d],
            b"brain.Event:2",
        ]
        .concat();
        assert_eq!(bytes[..version.len()], version);
        let second = &bytes[version.len() + 4..];
        assert_eq!(u64::from_le_bytes(second[..8].try_into().unwrap()) as usize, second.len() - 16);
        // Step 300 as a varint.
        assert_eq!(second[12 + 9..12 + 12], [0x10, 0xac, 0x02]);
    }
}
