-- Fold the words that are searched to one normal form, and both small sigmas to one.

-- step, repeated until it changes no row
UPDATE task_search s
   SET words = translate(lower(normalize(s.words, NFC)), 'ς', 'σ')
 WHERE (s.workspace_id, s.task_id) IN (
           SELECT x.workspace_id, x.task_id FROM task_search x
            WHERE x.words <> translate(lower(normalize(x.words, NFC)), 'ς', 'σ')
            LIMIT 1000);

-- step, repeated until it changes no row
UPDATE message_search s
   SET terms = to_tsvector('simple', translate(lower(normalize(left(m.content, 50000), NFC)), 'ς', 'σ'))
  FROM messages m
 WHERE m.workspace_id = s.workspace_id AND m.id = s.message_id
   AND (s.workspace_id, s.message_id) IN (
           SELECT x.workspace_id, x.message_id
             FROM messages y JOIN message_search x ON x.workspace_id = y.workspace_id AND x.message_id = y.id
            WHERE (y.content IS NOT NFC NORMALIZED OR y.content LIKE '%ς%' OR y.content LIKE '%Σ%')
              AND x.terms <> to_tsvector('simple', translate(lower(normalize(left(y.content, 50000), NFC)), 'ς', 'σ'))
            LIMIT 1000);
