-- What leaves the index is taken out of it at once. Otherwise it would only be marked, and the terms
-- of an erased account would stay in the file until their part of the index is written anew.
INSERT INTO document_terms (document_terms, rank) VALUES ('secure-delete', 1);
-- And what was marked before leaves now.
INSERT INTO document_terms (document_terms) VALUES ('rebuild');
