import KeelCore
import KeelModel

/// A batch line of `keel forward --grads`: `{"batch", "prompt_len", "entries", "adamw"}`, for a reward model
/// `{"chosen", "rejected", "entries", "adamw"}`.
struct ForwardBatch {
    struct AdamWSettings {
        var steps: Int
        var lr: Double
        var beta1: Double
        var beta2: Double
        var eps: Double
        var weightDecay: Double
    }

    /// What the loss is made of.
    enum Rows {
        /// Sequences whose targets after the prompt are predicted.
        case text(PackedBatch)
        /// Sequences to be scored: all chosen ones, then as many rejected ones.
        case pairs([[Int32]])
    }

    let rows: Rows
    /// Tensor name -> flat indices to report.
    let entries: [String: [Int]]
    let adamw: AdamWSettings?

    /// - Throws: `KeelError` (badData) that says what the line lacks.
    init(_ line: JSONObject) throws {
        let known =
            line["chosen"] == nil
            ? ["batch", "prompt_len", "entries", "adamw"]
            : ["chosen", "rejected", "entries", "adamw"]
        for key in line.keys where !known.contains(key) {
            throw KeelError("forward", "unknown key \"\(key)\"", code: .badData)
        }
        rows =
            try line["chosen"] == nil
            ? .text(ForwardBatch.text(line)) : .pairs(ForwardBatch.pairs(line))
        var entries: [String: [Int]] = [:]
        for (name, value) in line["entries"]?.object ?? JSONObject() {
            guard let list = value.array else {
                throw KeelError(
                    "forward", "entries of \(name) must be a list of indices", code: .badData)
            }
            entries[name] = try list.map { index in
                guard let index = index.int else {
                    throw KeelError("forward", "entry \(index.text()) of \(name)", code: .badData)
                }
                return index
            }
        }
        self.entries = entries
        adamw = try line["adamw"].map(ForwardBatch.settings)
    }

    private static func pairs(_ line: JSONObject) throws -> [[Int32]] {
        func side(_ name: String) throws -> [[Int32]] {
            guard let rows = line[name]?.array, !rows.isEmpty else {
                throw KeelError("forward", "no \"\(name)\": a list of id lists", code: .badData)
            }
            return try rows.enumerated().map { try TokenIDs.read($1, "\(name)[\($0)]") }
        }
        let (chosen, rejected) = (try side("chosen"), try side("rejected"))
        guard chosen.count == rejected.count else {
            throw KeelError(
                "forward", "\(chosen.count) chosen rows and \(rejected.count) rejected ones",
                code: .badData)
        }
        return chosen + rejected
    }

    private static func text(_ line: JSONObject) throws -> PackedBatch {
        guard let rows = line["batch"]?.array, !rows.isEmpty else {
            throw KeelError("forward", "no \"batch\": a list of id lists", code: .badData)
        }
        let sequences = try rows.enumerated().map { try TokenIDs.read($1, "batch[\($0)]") }
        var lengths = [Int](repeating: 1, count: rows.count)
        if let given = line["prompt_len"] {
            guard let list = given.array, list.count == rows.count else {
                throw KeelError(
                    "forward", "prompt_len needs one number for each of \(rows.count) rows",
                    code: .badData)
            }
            lengths = try list.map { value in
                guard let length = value.int, length >= 0 else {
                    throw KeelError("forward", "prompt_len \(value.text())", code: .badData)
                }
                return length
            }
        }
        let packed = PackedBatch(sequences: sequences, promptLengths: lengths)
        guard !packed.targets.isEmpty else {
            throw KeelError(
                "forward", "no row has a token after its prompt: nothing to train", code: .badData)
        }
        return packed
    }

    private static func settings(_ value: JSON) throws -> AdamWSettings {
        func number(_ key: String, _ fallback: Double, below: Double = .infinity) throws -> Double {
            guard let given = value[key] else { return fallback }
            guard let number = given.double, number >= 0, number < below else {
                throw KeelError("forward", "adamw.\(key) is \(given.text())", code: .badData)
            }
            return number
        }
        guard let steps = value["steps"]?.int, (1...1000).contains(steps) else {
            throw KeelError(
                "forward", "adamw.steps must be an integer from 1 to 1000", code: .badData)
        }
        return AdamWSettings(
            steps: steps, lr: try number("lr", 1e-3), beta1: try number("beta1", 0.9, below: 1),
            beta2: try number("beta2", 0.999, below: 1), eps: try number("eps", 1e-8),
            weightDecay: try number("weight_decay", 0))
    }
}

/// Token ids in JSON.
enum TokenIDs {
    /// - Throws: `KeelError` (badData) that names the item.
    static func read(_ value: JSON, _ what: String) throws -> [Int32] {
        guard let list = value.array else {
            throw KeelError(
                "ids", "\(what) must be a list of token ids, found \(value.kind)", code: .badData)
        }
        return try list.enumerated().map { i, item in
            guard let id = item.int.flatMap({ Int32(exactly: $0) }) else {
                throw KeelError(
                    "ids", "item \(i) of \(what) is no token id: \(item.text())", code: .badData)
            }
            return id
        }
    }
}
