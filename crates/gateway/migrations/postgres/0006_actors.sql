-- Who acted for the caller when it asked, the one at work first: a JSON array of `sub` and `iss`. Empty where nobody did.
ALTER TABLE operations ADD COLUMN actors TEXT COLLATE "C" NOT NULL DEFAULT '';
