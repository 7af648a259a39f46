//! Finding a way through two NATs: STUN, the server's advice, and the punching of holes.
