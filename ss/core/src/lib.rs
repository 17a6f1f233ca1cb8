//! The deciding code of a storage server: sessions, lease, apply, cursors.
