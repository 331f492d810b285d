//! The codec string of an init segment (RFC 6381), read from its sample description.

/// `avc1.4d401f`, `mp4a.40.2`; `None` if the bytes are no init segment of H.264 or AAC.
pub fn codec_string(init: &[u8]) -> Option<String> {
    let mut inner = init;
    for name in [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"] {
        inner = child(inner, name)?;
    }
    // stsd: version and flags, entry count; then the first sample entry.
    let entries = inner.get(8..)?;
    if let Some(entry) = child(entries, b"avc1").or_else(|| child(entries, b"avc3")) {
        // ISO/IEC 14496-12 §12.1.3: 78 bytes of VisualSampleEntry, then its boxes.
        let avcc = child(entry.get(78..)?, b"avcC")?;
        let (profile, compatibility, level) = (avcc.get(1)?, avcc.get(2)?, avcc.get(3)?);
        let name = if child(entries, b"avc1").is_some() {
            "avc1"
        } else {
            "avc3"
        };
        return Some(format!(
            "{name}.{profile:02x}{compatibility:02x}{level:02x}"
        ));
    }
    // §12.2.3: 28 bytes of AudioSampleEntry, then its boxes.
    let esds = child(child(entries, b"mp4a")?.get(28..)?, b"esds")?;
    audio_object(esds.get(4..)?)
}

/// Finds a box by name among those that `bytes` is made of; its content.
fn child<'a>(mut bytes: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    while let Some(head) = bytes.get(..8) {
        let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let whole = bytes.get(..size).filter(|_| size >= 8)?;
        if &head[4..8] == name {
            return whole.get(8..);
        }
        bytes = bytes.get(size..)?;
    }
    None
}

/// The object type, and the audio object type: the first five bits of the decoder specific info
/// (14496-3 §1.6.2.1).
fn audio_object(bytes: &[u8]) -> Option<String> {
    let (object_type, specific) = decoder_config(bytes)?;
    let mut kind = specific.first()? >> 3;
    if kind == 31 {
        kind = 32 + ((specific.first()? & 7) << 3 | specific.get(1)? >> 5);
    }
    Some(format!("mp4a.{object_type:02x}.{kind}"))
}

/// What a decoder must know, of the content of a box `esds` behind its version and flags: the object
/// type and the decoder specific info (ISO/IEC 14496-1 §7.2.6).
pub fn decoder_config(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let es = descriptor(bytes, 3)?;
    let flags = *es.get(2)?;
    let mut at = 3;
    if flags & 0x80 != 0 {
        at += 2; // dependsOn_ES_ID
    }
    if flags & 0x40 != 0 {
        at += 1 + usize::from(*es.get(at)?); // URL
    }
    if flags & 0x20 != 0 {
        at += 2; // OCR_ES_ID
    }
    let config = descriptor(es.get(at..)?, 4)?;
    let object_type = *config.first()?;
    Some((object_type, descriptor(config.get(13..)?, 5)?))
}

/// The content of the descriptor `bytes` begins with, if it has this tag.
fn descriptor(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    if *bytes.first()? != tag {
        return None;
    }
    // The length is in up to four bytes of seven bits.
    let (mut size, mut at) = (0_usize, 1);
    for _ in 0..4 {
        let byte = *bytes.get(at)?;
        at += 1;
        size = size << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    bytes.get(at..at.checked_add(size)?)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn a_box(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let mut out = (content.len() as u32 + 8).to_be_bytes().to_vec();
        out.extend_from_slice(name);
        out.extend_from_slice(content);
        out
    }

    fn moov(entry: &[u8]) -> Vec<u8> {
        let mut inner = [&[0, 0, 0, 0, 0, 0, 0, 1], entry].concat();
        for name in [b"stsd", b"stbl", b"minf", b"mdia", b"trak", b"moov"] {
            inner = a_box(name, &inner);
        }
        [a_box(b"ftyp", b"iso6"), inner].concat()
    }

    /// The init segment of an H.264 main profile, level 3.1, stream: as far as anyone reads it.
    pub fn video_init() -> Vec<u8> {
        let avcc = a_box(b"avcC", &[1, 0x4d, 0x40, 0x1f, 0xff]);
        moov(&a_box(b"avc1", &[&[0; 78][..], &avcc].concat()))
    }

    /// The init segment of an AAC-LC stream.
    pub fn audio_init() -> Vec<u8> {
        let specific = [5, 0x80, 0x80, 0x80, 2, 0x11, 0x90];
        let config = [&[4, 13 + 7, 0x40][..], &[0; 12], &specific].concat();
        let es = [&[3, 3 + 22, 0, 1, 0][..], &config].concat();
        let esds = a_box(b"esds", &[&[0; 4][..], &es].concat());
        moov(&a_box(b"mp4a", &[&[0; 28][..], &esds].concat()))
    }

    #[test]
    fn codecs_come_from_the_sample_description() {
        assert_eq!(codec_string(&video_init()).as_deref(), Some("avc1.4d401f"));
        assert_eq!(codec_string(&audio_init()).as_deref(), Some("mp4a.40.2"));
        assert_eq!(codec_string(b""), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(at: prop::sample::Index, byte: u8, cut: prop::sample::Index, audio: bool) {
            let mut init = if audio { audio_init() } else { video_init() };
            let at = at.index(init.len());
            init[at] = byte;
            let cut = cut.index(init.len());
            let _ = codec_string(&init);
            let _ = codec_string(&init[..cut]);
        }
    }
}
