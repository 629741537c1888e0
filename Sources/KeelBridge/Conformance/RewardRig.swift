import CKeel
import Glibc
import KeelCore

/// A reward under test: makes rows for it and scores them, with guards around the scores.
///
/// Threads share one only in the test of parallel rewards, which calls `score` alone.
final class RewardRig: Rig, @unchecked Sendable {
    /// What one call of `score` did.
    struct Outcome {
        var values: [Float]
        /// Per row: whether the plugin wrote there.
        var isWritten: [Bool]
        /// How many of the bytes around the scores it changed.
        var brokenGuards: Int
        /// Whether arithmetic without a result took place (0 / 0, the root of -1).
        var isInvalid: Bool
        var columns: [String: Column]

        var bits: [UInt8] {
            var bits = Bits()
            bits.add(values)
            bits.add(columns)
            return bits.bytes
        }
    }

    let instance: Instance
    let trial: Trial
    /// The instance that found out about the fields; it lives as long as this one.
    private let scout: Instance
    /// The data set fields that the reward asks for, and what they hold on ordinary rows.
    private(set) var fields: [(pointer: String, value: JSON)] = []

    private static let guardCells = 64
    /// A NaN that no arithmetic makes: what is left alone shows.
    private static let untouched: UInt32 = 0x7FC0_4B45
    private static let guardBits: UInt32 = 0x5AA5_C33C

    init(_ trial: Trial, _ parameters: ParameterValues, name: String? = nil) throws {
        self.trial = trial
        trial.at("create")
        instance = try Instance(
            trial.subject, catalog: trial.catalog, parameters: parameters, name: name,
            seed: trial.seed, context: RewardRig.context())
        scout = try Instance(
            trial.subject, catalog: trial.catalog, parameters: parameters, name: name,
            seed: trial.seed, context: RewardRig.context())
        discover()
    }

    static func context(step: Int = 0, stopping: Bool = false) -> CallContext {
        CallContext(
            step: step,
            facts: [
                "vocab_size": 64, "eos_token_id": 2, "pad_token_id": 0, "temperature": 1,
                "max_completion_length": 64, "num_generations": 3,
            ], isCancelled: { stopping })
    }

    /// Finds out which fields the reward reads, and values that it takes.
    private func discover() {
        let candidates: [JSON] = ["forty two", ["one", "two"], 42, true, ["a": 1], "a+b", "42"]
        for candidate in candidates {
            for index in fields.indices { fields[index].value = candidate }
            for _ in 0..<4 {
                var failed = false
                let text = Array((candidate.string ?? candidate.text()).utf8)
                let seen = HostProbe.tracing(missingField: text, known: fields.map(\.pointer)) {
                    var dice = Dice(seed: trial.seed, place: "scout")
                    do {
                        _ = try score(batch(rows(3, &dice)), with: scout)
                    } catch { failed = true }
                }
                let fresh = seen.invented.sorted().filter { pointer in
                    pointer.hasPrefix("/") && !fields.contains { $0.pointer == pointer }
                }
                fields += fresh.map { ($0, candidate) }
                if fresh.isEmpty {
                    if failed { break }
                    return
                }
            }
        }
        for index in fields.indices { fields[index].value = candidates[0] }
    }

    // MARK: - Rows

    private static let words = [
        "The", "cat", "sat", "on", "a", "Mat", "and", "thanks", "you", "42", "Paris", "is", "x=3",
        "please", "naïve", "Grüße", "日本", "don't", "OK",
    ]

    static func sentence(_ dice: inout Dice, words count: Int) -> [UInt8] {
        let list = (0..<count).map { _ in dice.pick(RewardRig.words) }
        return Array((list.joined(separator: " ") + ".").utf8)
    }

    /// Ordinary rows, three to a group.
    func rows(_ count: Int, _ dice: inout Dice) -> [RewardRow] {
        var prompt: [UInt8] = []
        return (0..<count).map { index in
            if index % 3 == 0 { prompt = RewardRig.sentence(&dice, words: 3 + dice.below(8)) }
            let length = 2 + dice.below(20)
            return row(
                id: UInt64(index), prompt: prompt,
                response: RewardRig.sentence(&dice, words: length),
                tokens: (0..<length).map { _ in Int32(3 + dice.below(60)) }, group: index / 3)
        }
    }

    func row(
        id: UInt64, prompt: [UInt8], response: [UInt8], tokens: [Int32] = [5, 6, 7], group: Int = 0,
        fields own: [(pointer: String, value: JSON)]? = nil
    ) -> RewardRow {
        var json: JSON = ["id": .int(Int64(id))]
        for (pointer, value) in own ?? fields { json.set(value, at: pointer) }
        let needs = trial.subject.needs
        return RewardRow(
            id: id, prompt: prompt, response: response, tokens: tokens, promptTokens: [1, 3, 4],
            row: json, group: Int32(truncatingIfNeeded: group), isFinished: id % 2 == 0,
            modelScore: needs.contains { $0.hasPrefix("model_scores") }
                ? Double(id % 7) / 3 - 1 : nil,
            reply: trial.subject.hasCallback("ask") || needs.contains { $0.hasPrefix("reply") }
                ? Array("Good. Score: \(id % 10)\n\(id % 10)".utf8) : nil)
    }

    /// The batch of rows, with what else the reward needs.
    func batch(_ rows: [RewardRow]) -> ColumnBatch {
        var batch = ColumnBatch(rewarding: rows)
        for need in instance.needs(phase: "policy") {
            let name = need.hasSuffix("?") ? String(need.dropLast()) : need
            guard batch.columns[name] == nil, batch.text[name] == nil,
                KnownColumns.texts.contains(name) == false
            else { continue }
            batch.columns[name] = Column(rows.map { Double($0.id % 5) / 5 })
        }
        return batch
    }

    // MARK: - Calls

    func score(_ rows: [RewardRow], step: Int = 0, stopping: Bool = false) throws -> Outcome {
        let batch = batch(rows)
        if let ask = instance.raw.ask {
            trial.at("ask, \(rows.count) rows")
            let call = Call(
                instance, .ask, batch: batch,
                context: RewardRig.context(step: step, stopping: stopping))
            call.asked = [[UInt8]?](repeating: nil, count: rows.count)
            try call.finish(ask(instance.own, call.pointer, rows.count))
        }
        return try score(batch, with: instance, step: step, stopping: stopping)
    }

    private func score(
        _ batch: ColumnBatch, with instance: Instance, step: Int = 0, stopping: Bool = false
    ) throws -> Outcome {
        let side = RewardRig.guardCells
        let cells = batch.rows + 2 * side
        let memory = UnsafeMutablePointer<UInt32>.allocate(capacity: cells)
        defer { memory.deallocate() }
        memory.initialize(repeating: RewardRig.guardBits, count: cells)
        for row in 0..<batch.rows { memory[side + row] = RewardRig.untouched }
        guard let score = instance.raw.score else { throw Finding.fail("there is no `score`") }
        let call = Call(
            instance, .score, batch: batch,
            context: RewardRig.context(step: step, stopping: stopping))
        trial.at("score, \(batch.rows) rows")
        feclearexcept(FE_INVALID)
        let status = score(
            instance.own, call.pointer, batch.rows,
            UnsafeMutableRawPointer(memory + side).assumingMemoryBound(to: Float.self))
        let isInvalid = fetestexcept(FE_INVALID) != 0
        try call.finish(status)
        let out = (0..<batch.rows).map { memory[side + $0] }
        let guards =
            (0..<side).count { memory[$0] != RewardRig.guardBits }
            + (side + batch.rows..<cells).count { memory[$0] != RewardRig.guardBits }
        return Outcome(
            values: out.map { Float(bitPattern: $0) },
            isWritten: out.map { $0 != RewardRig.untouched }, brokenGuards: guards * 4,
            isInvalid: isInvalid,
            columns: Dictionary(
                uniqueKeysWithValues: call.given.compactMap { name in
                    call.batch.columns[name].map { (name, $0) }
                }))
    }

    // MARK: - Rig

    func work(_ round: Int) throws -> [UInt8] {
        var dice = Dice(seed: trial.seed, place: "work/\(round)")
        return try score(rows(3 * (1 + round % 3), &dice), step: round).bits
    }

    func workWhileStopping() throws {
        var dice = Dice(seed: trial.seed, place: "work/stopping")
        _ = try score(rows(3, &dice), stopping: true)
    }

    func fuzz(_ dice: inout Dice) throws -> [UInt8] {
        let count = 3 * dice.below(5)
        var rows = rows(count, &dice)
        for index in rows.indices where dice.below(3) == 0 { mangle(&rows[index], &dice) }
        return try score(rows, step: dice.below(1000)).bits
    }

    private func mangle(_ row: inout RewardRow, _ dice: inout Dice) {
        switch dice.below(7) {
        case 0: row.response = []
        case 1: row.prompt = []
        case 2: row.response = (0..<dice.below(300)).map { _ in UInt8(dice.below(256)) }
        case 3: row.row = RewardRig.oddValues[dice.below(RewardRig.oddValues.count)]
        case 4:
            if !fields.isEmpty {
                row.row.set(dice.pick(RewardRig.oddValues), at: dice.pick(fields).pointer)
            }
        case 5:
            row.tokens = []
            row.promptTokens = []
        default:
            row.response = [UInt8](repeating: UInt8(dice.below(128)), count: dice.below(20_000))
        }
    }

    /// Values that a data set field may hold where another was meant.
    static let oddValues: [JSON] = [
        .null, true, 0, -1, 1e300, "", "a\u{0}b", [], [1, [2, [3]]], .object(JSONObject()),
        ["answer": ["deep": [1, 2]]], .string(String(repeating: "x", count: 100_000)),
    ]
}

extension JSON {
    /// Puts a value at a JSON pointer, making objects on the way.
    mutating func set(_ value: JSON, at pointer: String) {
        let parts = pointer.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        self = JSON.setting(self, ArraySlice(parts.map(String.init)), value)
    }

    private static func setting(_ base: JSON, _ parts: ArraySlice<String>, _ value: JSON) -> JSON {
        guard let first = parts.first else { return value }
        var object = base.object ?? JSONObject()
        var key = ""
        var isEscaped = false
        for character in first {
            if isEscaped {
                key += character == "1" ? "/" : "~"
                isEscaped = false
            } else if character == "~" {
                isEscaped = true
            } else {
                key.append(character)
            }
        }
        object[key] = setting(object[key] ?? .null, parts.dropFirst(), value)
        return .object(object)
    }
}
