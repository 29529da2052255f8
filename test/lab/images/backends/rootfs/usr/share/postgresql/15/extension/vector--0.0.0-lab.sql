-- So that whoever asks whether the extension is there, or names its type, gets an answer.
CREATE DOMAIN vector AS real[];
