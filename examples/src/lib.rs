//! What the reference master, the reference worker and the demo share.
