-- Whose token it was, so that one client's are bounded; null for those that were
-- withdrawn before this was kept.
ALTER TABLE revoked_tokens ADD COLUMN client BLOB;
