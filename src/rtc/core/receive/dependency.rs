//! The dependency descriptor: the header extension in which each packet of AV1, and of H.264 where
//! it is agreed on, says where in the pyramid of layers it stands (the AV1 RTP specification,
//! appendix A).
//!
//! A key frame brings the templates of all that follow it, and each packet names one of them. What
//! depends on what is between the publisher and its players; a server that leaves out upper layers
//! needs to know the layer, and where those above can begin again.

use std::io;
use std::ops::Range;

use bitstream_io::{BE, BitRead, BitReader};

use super::payload::Spatial;
use super::temporal::{Opening, Temporal};

/// The frame's number, of 16 bits, stands behind the first byte (A.8.2).
pub const FRAME_NUMBER: Range<usize> = 1..3;

/// Template ids have six bits (A.8.2).
const MAX_TEMPLATES: usize = 64;

/// A descriptor of no more than this says nothing of structure (A.8.1).
const MANDATORY_LEN: usize = 3;

/// The templates of one source, as its last key frame gave them, with the number of the packet that
/// brought them.
#[derive(Debug, Default)]
pub struct Templates(Option<(u64, Structure)>);

impl Templates {
    /// Where a packet stands, by the structure that it brings, or a key frame before it. `None` for
    /// nonsense, and for a template that no key frame told of.
    pub fn place(&mut self, descriptor: &[u8], sequence: u64) -> Option<(Spatial, Temporal)> {
        let descriptor = Descriptor::read(descriptor).ok()?;
        if let Some(structure) = descriptor.structure
            && self.0.as_ref().is_none_or(|(since, _)| sequence > *since)
        {
            self.0 = Some((sequence, structure));
        }
        let (_, structure) = self.0.as_ref()?;
        let template = structure.template(descriptor.template_id)?;
        let spatial = Spatial {
            id: template.spatial_id,
            starts_picture: descriptor.starts_frame && template.spatial_id == 0,
            ends_frame: descriptor.ends_frame,
        };
        let opens_to = template.opens_to.filter(|_| descriptor.is_as_template);
        let temporal = Temporal {
            id: template.temporal_id,
            // The frame itself may need earlier ones of its own layer.
            opens: opens_to.map(|to| Opening {
                from: template.temporal_id,
                to,
            }),
        };
        Some((spatial, temporal))
    }

    /// The heights of the spatial layers in pixels, the smallest first, where the last structure
    /// has them.
    pub fn heights_px(&self) -> impl Iterator<Item = u16> {
        let heights = self.0.iter().map(|(_, structure)| &structure.heights_px);
        heights.flatten().copied()
    }
}

/// `template_dependency_structure` (A.8.3), as far as it is of use here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Structure {
    first_id: u8,
    templates: Vec<Template>,
    /// Of each spatial layer.
    heights_px: Vec<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Template {
    spatial_id: u8,
    temporal_id: u8,
    /// The highest temporal layer that can begin with such a frame.
    opens_to: Option<u8>,
}

/// What a frame is to a decode target (A.4).
const NOT_PRESENT: u8 = 0;
const SWITCH: u8 = 2;

impl Structure {
    fn template(&self, id: u8) -> Option<Template> {
        let at = id.wrapping_sub(self.first_id) & 0x3F;
        self.templates.get(usize::from(at)).copied()
    }

    fn read(bits: &mut Bits<'_>) -> io::Result<Self> {
        let first_id = bits.read_unsigned::<6, u8>()?;
        let targets = bits.read_unsigned::<5, u32>()? + 1;
        let mut templates = Self::layers(bits)?;
        let mut indications = Vec::new();
        for _ in 0..templates.len() {
            let mut of = Vec::new();
            for _ in 0..targets {
                of.push(bits.read_unsigned::<2, u8>()?);
            }
            indications.push(of);
        }
        Self::find_openings(&mut templates, &indications);
        // Which frames each refers to.
        for _ in 0..templates.len() {
            while bits.read_bit()? {
                bits.skip(4)?;
            }
        }
        // How losses are noticed.
        let chains = read_below(bits, targets + 1)?;
        if chains > 0 {
            for _ in 0..targets {
                read_below(bits, chains)?;
            }
            for _ in 0..templates.len() as u32 * chains {
                bits.skip(4)?;
            }
        }
        let mut heights_px = Vec::new();
        if bits.read_bit()? {
            let layers = templates.last().map_or(0, |last| last.spatial_id + 1);
            for _ in 0..layers {
                bits.skip(16)?;
                heights_px.push(bits.read_unsigned::<16, u16>()?.saturating_add(1));
            }
        }
        Ok(Self {
            first_id,
            templates,
            heights_px,
        })
    }

    /// `template_layers`: of one spatial layer after the other, and in each never back in time.
    fn layers(bits: &mut Bits<'_>) -> io::Result<Vec<Template>> {
        let (mut templates, mut next) = (Vec::new(), Template::default());
        loop {
            if templates.len() == MAX_TEMPLATES {
                return Err(io::ErrorKind::InvalidData.into());
            }
            templates.push(next);
            match bits.read_unsigned::<2, u8>()? {
                0 => {}
                1 => next.temporal_id += 1,
                2 => (next.spatial_id, next.temporal_id) = (next.spatial_id + 1, 0),
                _ => return Ok(templates),
            }
        }
    }

    /// `indications` are those of each template for each target. A target goes as high as what is
    /// present in it.
    fn find_openings(templates: &mut [Template], indications: &[Vec<u8>]) {
        let mut tops = Vec::new();
        for (template, of) in templates.iter().zip(indications) {
            tops.resize(of.len(), 0);
            let present = tops
                .iter_mut()
                .zip(of)
                .filter(|(_, is)| **is != NOT_PRESENT);
            present.for_each(|(top, _)| *top = template.temporal_id.max(*top));
        }
        for (template, of) in templates.iter_mut().zip(indications) {
            let opened = tops.iter().zip(of).filter(|(_, is)| **is == SWITCH);
            template.opens_to = opened.map(|(top, _)| *top).max();
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Descriptor {
    starts_frame: bool,
    ends_frame: bool,
    template_id: u8,
    /// What it is to the decode targets, its template says.
    is_as_template: bool,
    structure: Option<Structure>,
}

type Bits<'a> = BitReader<&'a [u8], BE>;

impl Descriptor {
    fn read(bytes: &[u8]) -> io::Result<Self> {
        let mut bits = Bits::new(bytes);
        let (starts_frame, ends_frame) = (bits.read_bit()?, bits.read_bit()?);
        let template_id = bits.read_unsigned::<6, u8>()?;
        bits.skip(8 * FRAME_NUMBER.len() as u32)?;
        let (mut structure, mut is_as_template) = (None, true);
        if bytes.len() > MANDATORY_LEN {
            let has_structure = bits.read_bit()?;
            // Which targets are active; then what else this packet has besides its template.
            bits.skip(1)?;
            is_as_template = !bits.read_bit()?;
            bits.skip(2)?;
            if has_structure {
                structure = Some(Structure::read(&mut bits)?);
            }
        }
        Ok(Self {
            starts_frame,
            ends_frame,
            template_id,
            is_as_template,
            structure,
        })
    }
}

/// `ns(n)`: a number below `end`, in no more bits than it needs (A.8.1).
fn read_below(bits: &mut Bits<'_>, end: u32) -> io::Result<u32> {
    let width = u32::BITS - end.leading_zeros();
    let short = (1 << width) - end;
    let value = bits.read_unsigned_var::<u32>(width - 1)?;
    if value < short {
        return Ok(value);
    }
    Ok((value << 1) - short + u32::from(bits.read_bit()?))
}

#[cfg(test)]
mod tests {
    use bitstream_io::{BigEndian, BitWrite, BitWriter};
    use proptest::prelude::*;

    use super::*;

    /// As libaom's L3T1_KEY has it: of each layer a template for key frames and one for the rest.
    fn key_frame(first_id: u8, heights_px: &[u16]) -> Vec<u8> {
        let mut bits = BitWriter::endian(Vec::new(), BigEndian);
        let mut put = |width: u32, value: u32| bits.write_unsigned_var(width, value).expect("room");
        let layers = heights_px.len() as u32;
        let templates = 2 * layers;
        let starts = [(1, 1), (1, 0), (6, u32::from(first_id)), (16, 7)];
        for (width, value) in starts {
            put(width, value);
        }
        // With a structure, and nothing else.
        put(5, 0b10000);
        put(6, u32::from(first_id));
        put(5, layers - 1);
        for template in 1..templates {
            put(2, if template % 2 == 0 { 2 } else { 0 });
        }
        put(2, 3);
        (0..templates * layers).for_each(|_| put(2, 2));
        for template in 0..templates {
            if template % 2 == 1 {
                put(1, 1);
                put(4, layers - 1);
            }
            put(1, 0);
        }
        // As many chains as targets, of which each has its own.
        let below = |end: u32, value: u32| {
            let width = 32 - end.leading_zeros();
            let short = (1 << width) - end;
            match value < short {
                true => (width - 1, value),
                false => (width, value + short),
            }
        };
        let (width, value) = below(layers + 1, layers);
        put(width, value);
        for chain in 0..layers {
            let (width, value) = below(layers, chain);
            put(width, value);
        }
        (0..templates * layers).for_each(|_| put(4, 3));
        put(1, 1);
        for height_px in heights_px {
            put(16, u32::from(*height_px) * 16 / 9 - 1);
            put(16, u32::from(*height_px) - 1);
        }
        bits.byte_align().expect("room");
        bits.into_writer()
    }

    fn place(templates: &mut Templates, sequence: u64, id: u8) -> Option<(u8, bool, bool)> {
        let (spatial, _) = templates.place(&[id, 0, 9], sequence)?;
        Some((spatial.id, spatial.starts_picture, spatial.ends_frame))
    }

    #[test]
    fn each_packet_names_a_template_of_its_key_frame() {
        let mut templates = Templates::default();
        assert_eq!(place(&mut templates, 9, 0x80), None, "no key frame yet");
        let first = templates.place(&key_frame(62, &[180, 360, 720]), 10);
        let expected = Spatial {
            id: 0,
            starts_picture: true,
            ends_frame: false,
        };
        assert_eq!(first.map(|(spatial, _)| spatial), Some(expected));
        assert_eq!(templates.heights_px().collect::<Vec<_>>(), [180, 360, 720]);
        // Ids go round.
        let told = [0x80 | 63, 0x80, 0x41, 0x03].map(|id| place(&mut templates, 11, id));
        let expected = [
            Some((0, true, false)),
            Some((1, false, false)),
            Some((1, false, true)),
            Some((2, false, false)),
        ];
        assert_eq!(told, expected);
        assert_eq!(place(&mut templates, 12, 4), None, "of another key frame");
    }

    #[test]
    fn temporal_layers_begin_where_a_template_says_so() {
        // L1T3 of one template a layer: what it is to each of three targets.
        let layers = [(0, [2, 2, 2]), (1, [0, 1, 2]), (2, [0, 0, 1])];
        let mut bits = BitWriter::endian(Vec::new(), BigEndian);
        let mut put = |width: u32, value: u32| bits.write_unsigned_var(width, value).expect("room");
        let head = [(8, 0xC0), (16, 7), (5, 0b10000), (6, 0), (5, 2)];
        let ends = |at| if at == 2 { 3 } else { 1 };
        let order = (0..3).map(|at| (2, ends(at)));
        let indications = layers.iter().flat_map(|(_, of)| of.map(|is| (2, is)));
        // No references, no chains, no sizes.
        let tail = [(3, 0), (2, 0), (1, 0)];
        for (width, value) in head.into_iter().chain(order).chain(indications).chain(tail) {
            put(width, value);
        }
        bits.byte_align().expect("room");
        let mut templates = Templates::default();
        templates.place(&bits.into_writer(), 1);
        let temporal = |templates: &mut Templates, descriptor: &[u8]| {
            let (_, temporal) = templates.place(descriptor, 2).expect("its place");
            (
                temporal.id,
                temporal.opens.map(|opens| (opens.from, opens.to)),
            )
        };
        let told = [0, 1, 2].map(|id| temporal(&mut templates, &[0xC0 | id, 0, 9]));
        let expected = [(0, Some((0, 2))), (1, Some((1, 2))), (2, None)];
        assert_eq!(told, expected);
        // It has indications of its own, which may be others.
        let custom = temporal(&mut templates, &[0xC0, 0, 9, 0b0010_0000]);
        assert_eq!(custom, (0, None));
    }

    #[test]
    fn what_is_brought_back_late_changes_nothing() {
        let mut templates = Templates::default();
        templates.place(&key_frame(0, &[720]), 20);
        assert_eq!(place(&mut templates, 21, 1), Some((0, false, false)));
        templates.place(&key_frame(10, &[180, 360]), 15);
        assert_eq!(templates.heights_px().collect::<Vec<_>>(), [720]);
        templates.place(&key_frame(10, &[180, 360]), 25);
        assert_eq!(templates.heights_px().collect::<Vec<_>>(), [180, 360]);
    }

    proptest! {
        #[test]
        fn survives(descriptors in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..255), 0..4,
        )) {
            let mut templates = Templates::default();
            for (sequence, descriptor) in (1..).zip(descriptors) {
                templates.place(&descriptor, sequence);
                prop_assert!(templates.heights_px().count() <= MAX_TEMPLATES);
            }
        }

        #[test]
        fn numbers_below_an_end(end in 1u32..40, bytes: [u8; 8]) {
            let value = read_below(&mut Bits::new(&bytes), end).expect("enough bits");
            prop_assert!(value < end);
        }
    }
}
