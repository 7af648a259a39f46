//! KCP as frp speaks it: reliable streams over UDP, with forward error correction.
