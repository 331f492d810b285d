//! Sealing RTP in place with AES-GCM (RFC 7714): the packet path of an SFU is this function.

use rtc_crypto::{AeadAlgorithm, AeadCipher, BlockCipherAlgorithm, RTCCrypto};

use crate::rtc::core::prefetch::prefetch;

/// RFC 7714 §12: AES-128, a salt of 96 bits, a tag of 128.
const KEY_LEN: usize = 16;
const SALT_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// RFC 3711 §4.3.2.
const LABEL_ENCRYPTION: u8 = 0;
const LABEL_SALT: u8 = 2;

/// One direction's cipher. The caller owns the packet index: it must never seal two packets of
/// one SSRC with the same index.
pub struct Sealer {
    cipher: Box<dyn AeadCipher>,
    salt: [u8; SALT_LEN],
}

impl Sealer {
    pub fn new(crypto: &dyn RTCCrypto, master_key: &[u8], master_salt: &[u8]) -> Option<Self> {
        let derive = |label| derive(crypto, label, master_key, master_salt);
        let key = derive(LABEL_ENCRYPTION)?;
        let salt = derive(LABEL_SALT)?;
        Some(Self {
            cipher: crypto.new_aead(AeadAlgorithm::Aes128Gcm, &key).ok()?,
            salt: salt[..SALT_LEN].try_into().ok()?,
        })
    }

    /// Asks for the memory of the key.
    pub fn prefetch(&self) {
        prefetch(&*self.cipher);
    }

    /// Seals the packet that is `buffer` from `start` on, and appends its tag. `index` is the
    /// packet index (RFC 3711 §3.3.1): rollover counter and sequence number.
    pub fn seal(
        &mut self,
        buffer: &mut Vec<u8>,
        start: usize,
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> bool {
        // RFC 7714 §8.1: two null bytes, SSRC, rollover counter, sequence number; exclusive-or
        // with the salt.
        let mut nonce = self.salt;
        let mut source = [0; 10];
        source[..4].copy_from_slice(&ssrc.to_be_bytes());
        source[4..].copy_from_slice(&index.to_be_bytes()[2..]);
        for (byte, with) in nonce[2..].iter_mut().zip(source) {
            *byte ^= with;
        }
        let Some((header, payload)) = buffer
            .get_mut(start..)
            .and_then(|packet| packet.split_at_mut_checked(header_len))
        else {
            return false;
        };
        let mut tag = [0; TAG_LEN];
        let sealed = self.cipher.seal_in_place(&nonce, header, payload, &mut tag);
        buffer.extend_from_slice(&tag);
        sealed.is_ok()
    }
}

/// RFC 3711 §4.3.3, for keys of one block; RFC 7714 §11 puts zeros after the shorter salt.
fn derive(crypto: &dyn RTCCrypto, label: u8, key: &[u8], salt: &[u8]) -> Option<[u8; KEY_LEN]> {
    let mut block = [0; KEY_LEN];
    block.get_mut(..salt.len())?.copy_from_slice(salt);
    block[7] ^= label;
    crypto
        .block_encrypt(BlockCipherAlgorithm::Aes128, key, &mut block)
        .ok()?;
    Some(block)
}
