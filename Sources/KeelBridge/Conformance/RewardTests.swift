import KeelCore

/// Rewards: any text, any row, and nothing but the scores is written.
extension ConformanceTest {
    static let rewardTests: [ConformanceTest] = [
        reward(
            "runs", "Three ordinary rows are scored without an error.",
            after: ["declared", "columns"], run: testRewardRuns),
        reward("no_rows", "No rows at all are no reason to fail.", run: testNoRows),
        reward("many_rows", "One row and 4096 rows are scored alike.", run: testManyRows),
        reward(
            "infinities", "A score is a finite number, or NaN.", after: ["runs", "empty_text"],
            run: testInfinities),
        reward(
            "nan", "NaN is left or written on purpose, not computed (0 / 0).",
            after: ["runs", "empty_text"], run: testNaN),
        reward("bounds", "Nothing is written before or behind the scores.", run: testBounds),
        reward("empty_text", "Empty prompts and responses are scored.") { trial in
            try testTexts(trial, [[]])
        },
        reward("long_text", "A response of 1 MB is scored.") { trial in
            var text = RewardRig.sentence(&trial.dice, words: 200)
            while text.count < 1 << 20 { text += text }
            try testTexts(
                trial, [Array(text.prefix(1 << 20)), [UInt8](repeating: 97, count: 1 << 20)])
        },
        reward("invalid_utf8", "Bytes that are no UTF-8 are scored.") { trial in
            try testTexts(
                trial,
                [
                    [0xFF], [0x80, 0x80], [0xC3], Array("broken \u{e9}".utf8.dropLast()),
                    [0xED, 0xA0, 0x80], (0...255).map { UInt8(255 - $0) }.filter { $0 != 0 },
                ])
        },
        reward("nul_in_text", "A NUL inside of a text does not end it badly.") { trial in
            try testTexts(trial, [[0], Array("a\u{0}b c".utf8), Array("\u{0}\u{0}".utf8)])
        },
        reward(
            "final_nul", "It does not rely on a NUL behind a text.", after: ["runs", "empty_text"]
        ) { trial in
            let rig = try RewardRig(trial, try trial.parameters())
            try HostProbe.lending(.edge) {
                _ = try rig.score(rig.rows(4, &trial.dice))
                let empty = [rig.row(id: 1, prompt: [], response: [])]
                _ = try? rig.score(empty)
            }
        },
        reward("read_only", "It does not write into the texts and columns that it is lent.") {
            trial in
            let rig = try RewardRig(trial, try trial.parameters())
            try HostProbe.lending(.readOnly) { _ = try rig.score(rig.rows(6, &trial.dice)) }
        },
        reward(
            "fields", "Data set fields may be missing, or hold another type.",
            run: testFields),
    ]

    private static func reward(
        _ name: String, _ help: String, after: [String] = ["runs"],
        run: @escaping @Sendable (Trial) throws -> Void
    ) -> ConformanceTest {
        ConformanceTest(.reward, name, help, kinds: [.reward], after: after, run: run)
    }

    /// What makes every other test pointless: `create` refuses what it is given.
    static func firstRig(_ trial: Trial) throws -> any Rig {
        do { return try trial.rig() } catch let error as KeelError where error.code == .config {
            throw Finding.warn(
                "`create` refuses its parameters, so nothing else was tried: \(error.what)",
                fix: "give parameters that it takes with --params JSON")
        }
    }

    private static func testRewardRuns(_ trial: Trial) throws {
        guard let rig = try firstRig(trial) as? RewardRig else { return }
        let outcome = try rig.score(rig.rows(3, &trial.dice))
        if !outcome.isWritten.contains(true) {
            trial.note("it applies to none of the ordinary rows (all NaN)")
        }
        for name in outcome.columns.keys.sorted() where name != "token_rewards" {
            trial.note("it gives the column \"\(name)\"")
        }
    }

    private static func testNoRows(_ trial: Trial) throws {
        let rig = try RewardRig(trial, try trial.parameters())
        _ = try rig.score([])
    }

    private static func testManyRows(_ trial: Trial) throws {
        let rig = try RewardRig(trial, try trial.parameters())
        _ = try rig.score(rig.rows(1, &trial.dice))
        _ = try rig.score(rig.rows(4096, &trial.dice))
    }

    /// Ordinary rows, and short ones: where a length of 0 is divided by.
    private static func telling(_ rig: RewardRig, _ dice: inout Dice) -> [RewardRow] {
        var rows = rig.rows(6, &dice)
        for (index, text) in ["", " ", ".", "a", "\n"].enumerated() {
            rows.append(
                rig.row(
                    id: UInt64(100 + index), prompt: Array("Say it.".utf8),
                    response: Array(text.utf8), tokens: text.isEmpty ? [] : [7],
                    group: 2 + index / 3))
        }
        return rows
    }

    /// Scores the rows one by one, or their groups; a row that is refused is for other tests.
    private static func each(
        _ trial: Trial, _ body: (RewardRig.Outcome, [RewardRow]) throws -> Void
    ) throws {
        let rig = try RewardRig(trial, try trial.parameters())
        let rows = telling(rig, &trial.dice)
        let step = trial.subject.flags.contains(.coupled) ? 3 : 1
        for start in stride(from: 0, to: rows.count, by: step) {
            let part = Array(rows[start..<min(start + step, rows.count)])
            guard let outcome = try? rig.score(part) else { continue }
            try body(outcome, part)
        }
    }

    private static func shown(_ row: RewardRow) -> String {
        let text = String(decoding: row.response, as: UTF8.self).prefix(60)
        return "the response \(JSON.string(String(text)).text())"
    }

    private static func testInfinities(_ trial: Trial) throws {
        try each(trial) { outcome, rows in
            for (row, value) in zip(rows, outcome.values) where value.isInfinite {
                throw Finding.fail(
                    "it gives \(value) to \(shown(row))",
                    fix: "a score is a finite number, or NaN where the reward does not apply")
            }
        }
    }

    private static func testNaN(_ trial: Trial) throws {
        try each(trial) { outcome, rows in
            for (index, value) in outcome.values.enumerated() where value.isNaN {
                guard outcome.isWritten[index], value.sign == .minus || outcome.isInvalid else {
                    continue
                }
                throw Finding.fail(
                    "it computes NaN for \(shown(rows[index])), which reads as: does not apply",
                    fix:
                        "look for 0 / 0 or the root of a negative number; leave out[i] alone, or return nil, where the reward does not apply"
                )
            }
        }
    }

    private static func testBounds(_ trial: Trial) throws {
        let rig = try RewardRig(trial, try trial.parameters())
        for count in [1, 2, 3, 6, 64] {
            let outcome = try rig.score(rig.rows(count, &trial.dice))
            guard outcome.brokenGuards > 0 else { continue }
            throw Finding.fail(
                "it writes \(outcome.brokenGuards) bytes outside of the scores of \(count) rows",
                fix: "write out[0] to out[n - 1] only")
        }
    }

    private static func testTexts(_ trial: Trial, _ texts: [[UInt8]]) throws {
        let rig = try RewardRig(trial, try trial.parameters())
        let plain = RewardRig.sentence(&trial.dice, words: 6)
        for text in texts {
            for (prompt, response) in [(plain, text), (text, plain), (text, text)] {
                let row = rig.row(id: 1, prompt: prompt, response: response)
                try tolerant { _ = try rig.score([row]) }
            }
        }
    }

    /// An error with a text is an answer: a reward may refuse a row.
    private static func tolerant(_ body: () throws -> Void) throws {
        do { try body() } catch let error as KeelError {
            try expectText(error, "a row")
        }
    }

    private static func testFields(_ trial: Trial) throws {
        let rig = try RewardRig(trial, try trial.parameters())
        guard !rig.fields.isEmpty else {
            trial.note("it reads no fields of the data set row")
            return
        }
        trial.note("it reads \(rig.fields.map(\.pointer).joined(separator: ", "))")
        let prompt = RewardRig.sentence(&trial.dice, words: 4)
        for (index, field) in rig.fields.enumerated() {
            var others = rig.fields
            others.remove(at: index)
            let odd = RewardRig.oddValues.map { others + [(pointer: field.pointer, value: $0)] }
            for own in [others] + odd {
                trial.circumstances = "field \(field.pointer) missing or of another type"
                let row = rig.row(id: 1, prompt: prompt, response: prompt, fields: own)
                try tolerant { _ = try rig.score([row]) }
            }
        }
    }
}
