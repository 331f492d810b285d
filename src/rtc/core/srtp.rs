//! SRTP keys out of the DTLS handshake, and packets in the clear (RFC 3711, RFC 5764 §4.2).

mod seal;

use std::collections::BTreeSet;

use bytes::BytesMut;
use rtc_crypto::RTCCrypto;
use rtc_rtp::Header as CrateHeader;
use rtc_shared::error::Error;
use rtc_srtp::config::Config;
use rtc_srtp::context::Context;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;

use super::prefetch::{Depth, prefetch};
use super::receive::rtp::Header;

/// Reordering beyond this is treated as replay (RFC 3711 §3.3.2 asks for at least 64).
const REPLAY_WINDOW: usize = 1024;

/// And of RTCP, of which a peer sends some dozens a second.
const RTCP_REPLAY_WINDOW: usize = 128;

/// Sources of one peer: media and RTX of a few tracks with three layers each, twice over.
const MAX_SSRCS: usize = 64;

/// Packets of unknown sources tried before the trial context's memory is dropped.
const MAX_TRIALS: usize = 128;

/// RFC 5764 §4.2
pub const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";

/// The receiving and the sending context of one connection.
pub struct Srtp {
    keys: Config,
    inbound: Context,
    outbound: Context,
    /// Of AES-GCM, which all browsers agree to; the other profile goes through `outbound`.
    sealer: Option<seal::Sealer>,
    /// Sources that sent at least one authentic packet.
    known: BTreeSet<u32>,
    /// The crate remembers a source before it checks its packet, so forged packets are tried
    /// on a context of which the memory can be dropped.
    trial: Option<(Context, usize)>,
    scratch: CrateHeader,
}

/// How many bytes of keying material `profile` needs.
pub fn keying_material_len(profile: ProtectionProfile) -> usize {
    2 * (profile.key_len() + profile.salt_len())
}

impl Srtp {
    /// `is_client`: whether we are the DTLS client.
    pub fn new(
        profile: ProtectionProfile,
        keying_material: &[u8],
        is_client: bool,
        crypto: &dyn RTCCrypto,
    ) -> Result<Self, Error> {
        let mut keys = Config {
            profile,
            ..Config::default()
        };
        keys.set_session_keys_from_keying_material(keying_material, is_client)?;
        let outbound = Context::new(
            &keys.keys.local_master_key,
            &keys.keys.local_master_salt,
            profile,
            None,
            None,
            crypto,
        )?;
        let (key, salt) = (&keys.keys.local_master_key, &keys.keys.local_master_salt);
        let sealer = match profile {
            ProtectionProfile::AeadAes128Gcm => seal::Sealer::new(crypto, key, salt),
            _ => None,
        };
        Ok(Self {
            inbound: inbound(&keys, crypto)?,
            outbound,
            sealer,
            keys,
            known: BTreeSet::new(),
            trial: None,
            scratch: CrateHeader::default(),
        })
    }

    /// The packet in the clear; `None` for a forged or replayed one, or one source too many.
    pub fn open_rtp(
        &mut self,
        packet: &[u8],
        header: &Header,
        crypto: &dyn RTCCrypto,
    ) -> Option<BytesMut> {
        // The crate reads three things of its own header type: source, number and length.
        self.scratch.ssrc = header.ssrc;
        self.scratch.sequence_number = header.sequence;
        self.scratch.csrc.resize((header.header_len - 12) / 4, 0);
        if !self.known.contains(&header.ssrc) {
            if self.known.len() >= MAX_SSRCS || !self.passes_trial(packet, crypto) {
                return None;
            }
            self.known.insert(header.ssrc);
        }
        self.inbound
            .decrypt_rtp_with_header(packet, &self.scratch)
            .ok()
    }

    /// As [`Self::open_rtp`], for RTCP.
    pub fn open_rtcp(&mut self, packet: &[u8], crypto: &dyn RTCCrypto) -> Option<BytesMut> {
        let ssrc = u32::from_be_bytes(packet.get(4..8)?.try_into().ok()?);
        if !self.known.contains(&ssrc) {
            if self.known.len() >= MAX_SSRCS {
                return None;
            }
            self.trial(crypto)?.decrypt_rtcp(packet).ok()?;
            self.known.insert(ssrc);
        }
        self.inbound.decrypt_rtcp(packet).ok()
    }

    pub fn seal_rtcp(&mut self, packet: &[u8]) -> Option<BytesMut> {
        self.outbound.encrypt_rtcp(packet).ok()
    }

    /// Seals the packet that is `buffer` from `start` on, in its place. `index` is rollover
    /// counter and sequence number (RFC 3711 §3.3.1); the caller never uses one twice.
    pub fn seal_rtp(
        &mut self,
        buffer: &mut Vec<u8>,
        start: usize,
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> bool {
        if let Some(sealer) = &mut self.sealer {
            return sealer.seal(buffer, start, header_len, ssrc, index);
        }
        let packet = buffer.get(start..).unwrap_or_default();
        let Ok(sealed) = self.outbound.encrypt_rtp(packet) else {
            return false;
        };
        buffer.truncate(start);
        buffer.extend_from_slice(&sealed);
        true
    }

    /// Asks for the memory that [`Self::seal_rtp`] needs.
    pub fn prefetch(&self, depth: Depth) {
        match depth {
            Depth::Own => {}
            Depth::Pointed => prefetch(&self.sealer),
            Depth::Far => self.sealer.iter().for_each(seal::Sealer::prefetch),
        }
    }

    /// What the peers of tests send.
    #[cfg(test)]
    pub fn seal_test_rtp(&mut self, packet: &[u8]) -> Option<BytesMut> {
        self.outbound.encrypt_rtp(packet).ok()
    }

    fn passes_trial(&mut self, packet: &[u8], crypto: &dyn RTCCrypto) -> bool {
        let header = std::mem::take(&mut self.scratch);
        let passes = self
            .trial(crypto)
            .is_some_and(|trial| trial.decrypt_rtp_with_header(packet, &header).is_ok());
        self.scratch = header;
        passes
    }

    fn trial(&mut self, crypto: &dyn RTCCrypto) -> Option<&mut Context> {
        if self
            .trial
            .as_ref()
            .is_none_or(|(_, tried)| *tried >= MAX_TRIALS)
        {
            self.trial = Some((inbound(&self.keys, crypto).ok()?, 0));
        }
        let (context, tried) = self.trial.as_mut()?;
        *tried += 1;
        Some(context)
    }
}

fn inbound(config: &Config, crypto: &dyn RTCCrypto) -> Result<Context, Error> {
    Context::new(
        &config.keys.remote_master_key,
        &config.keys.remote_master_salt,
        config.profile,
        Some(srtp_replay_protection(REPLAY_WINDOW)),
        Some(srtcp_replay_protection(RTCP_REPLAY_WINDOW)),
        crypto,
    )
}
