import CKeel
import KeelCore

/// A token sampler under test.
final class TokenSamplerRig: Rig {
    let sampler: TokenSamplerInstance
    let trial: Trial

    var instance: Instance { sampler.instance }

    static let vocabulary = 40

    init(_ trial: Trial, _ parameters: ParameterValues, name: String? = nil) throws {
        self.trial = trial
        trial.at("create")
        sampler = try TokenSamplerInstance(
            trial.subject, catalog: trial.catalog, parameters: parameters, name: name,
            seed: trial.seed, context: RewardRig.context())
    }

    /// A sequence on its way: what the host keeps for it.
    struct Sequence {
        var id: UInt64
        var tokens: [Int32]
        var state: [UInt8]
    }

    func sequences(_ count: Int, _ dice: inout Dice) -> [Sequence] {
        (0..<count).map { index in
            Sequence(
                id: UInt64(index + 10),
                tokens: (0..<4 + index).map { _ in
                    Int32(dice.below(TokenSamplerRig.vocabulary))
                },
                state: [UInt8](repeating: 0, count: sampler.sequenceBytes))
        }
    }

    /// The logits of a sequence: a pure function of its id and length, no two equal.
    func logits(of sequence: Sequence) -> [Float] {
        var dice = Dice(
            seed: trial.seed, place: "logits/\(sequence.id)/\(sequence.tokens.count)")
        return (0..<TokenSamplerRig.vocabulary).map { _ in Float(dice.uniform(-4...4)) }
    }

    /// What one call said.
    struct Outcome {
        var tokens: [Int32]
        /// Per sequence, as the sampler left them.
        var logits: [[Float]]
    }

    /// One draw for each sequence; their state and tokens go on.
    func sample(
        _ sequences: inout [Sequence], logits rows: [[Float]]? = nil, step: Int = 0,
        stopping: Bool = false
    ) throws -> Outcome {
        trial.at("sample, \(sequences.count) rows")
        let rows = rows ?? sequences.map(logits)
        var flat = rows.flatMap(\.self)
        var states = sequences.map(\.state)
        let width = rows.first?.count ?? 1
        let tokens = try sampler.sample(
            logits: &flat, vocabulary: width,
            sequences: sequences.map { .init(id: $0.id, tokens: $0.tokens, promptLength: 3) },
            states: &states, context: RewardRig.context(step: step, stopping: stopping))
        let edited = rows.indices.map { Array(flat[$0 * width..<($0 + 1) * width]) }
        for index in sequences.indices {
            sequences[index].state = states[index]
            // The host's own draw, made the same way every time: the likeliest token.
            let own = edited[index].indices.max { edited[index][$0] < edited[index][$1] } ?? 0
            sequences[index].tokens.append(tokens[index] == -1 ? Int32(own) : tokens[index])
        }
        return Outcome(tokens: tokens, logits: edited)
    }

    static func bits(_ outcome: Outcome) -> [UInt8] {
        var bits = Bits()
        bits.add(outcome.tokens.map(Double.init))
        for row in outcome.logits { bits.add(row) }
        return bits.bytes
    }

    // MARK: - Rig

    func work(_ round: Int) throws -> [UInt8] {
        var dice = Dice(seed: trial.seed, place: "work/\(round)")
        var sequences = sequences(1 + round % 4, &dice)
        var bytes: [UInt8] = []
        for step in 0..<3 { bytes += TokenSamplerRig.bits(try sample(&sequences, step: step)) }
        return bytes
    }

    func workWhileStopping() throws {
        var dice = Dice(seed: trial.seed, place: "work/stopping")
        var sequences = sequences(2, &dice)
        _ = try sample(&sequences, stopping: true)
    }

    func fuzz(_ dice: inout Dice) throws -> [UInt8] {
        var sequences = sequences(1 + dice.below(5), &dice)
        let width = 1 + dice.below(100)
        var bytes: [UInt8] = []
        for _ in 0..<1 + dice.below(3) {
            let rows = sequences.map { _ in
                (0..<width).map { _ in
                    dice.below(6) == 0 ? -Float.infinity : Float(dice.uniform(-50...50))
                }
            }.map { row in row.contains { $0 > -.infinity } ? row : row.map { _ in 0 } }
            for index in sequences.indices {
                sequences[index].tokens = sequences[index].tokens.map { $0 % Int32(width) }
            }
            bytes += TokenSamplerRig.bits(try sample(&sequences, logits: rows))
        }
        return bytes
    }
}

/// A data sampler under test.
final class DataSamplerRig: Rig {
    let sampler: DataSamplerInstance
    let trial: Trial

    let instance: Instance

    init(_ trial: Trial, _ parameters: ParameterValues, name: String? = nil) throws {
        self.trial = trial
        trial.at("create")
        instance = try Instance(
            trial.subject, catalog: trial.catalog, parameters: parameters, name: name,
            seed: trial.seed, context: RewardRig.context())
        sampler = DataSamplerInstance(instance)
    }

    /// The columns that the sampler needs, one cell per row of the data set.
    func columns(_ count: Int, _ dice: inout Dice) -> [String: Column] {
        var columns: [String: Column] = [:]
        for need in instance.needs(phase: "policy") {
            let name = need.hasSuffix("?") ? String(need.dropLast()) : need
            switch ColumnNames.split(name).base {
            case "length":
                columns[name] = Column(ints: (0..<count).map { _ in Int32(1 + dice.below(50)) })
            case "group": columns[name] = Column(ints: (0..<count).map { Int32($0 / 3) })
            default: columns[name] = Column(dice.doubles(count, 0...1))
            }
        }
        return columns
    }

    func order(epoch: Int, rows: Int, length: Int, stopping: Bool = false) throws -> [Int] {
        var dice = Dice(seed: trial.seed, place: "columns/\(rows)")
        trial.at("order, epoch \(epoch), \(length) of \(rows) rows")
        return try sampler.order(
            epoch: epoch, count: rows, length: length, columns: columns(rows, &dice),
            context: RewardRig.context(stopping: stopping))
    }

    func feedback(_ rows: [Int]) throws {
        guard sampler.hasFeedback else { return }
        var dice = Dice(seed: trial.seed, place: "feedback/\(rows.count)")
        var batch = ColumnBatch(rows: rows.count)
        batch.columns = columns(rows.count, &dice)
        trial.at("feedback, \(rows.count) rows")
        try sampler.feedback(rows: rows, batch: batch, context: RewardRig.context())
    }

    // MARK: - Rig

    func work(_ round: Int) throws -> [UInt8] {
        let rows = 10 + round % 7
        let order = try order(epoch: round, rows: rows, length: rows)
        try feedback(Array(order.prefix(4)))
        var bits = Bits()
        bits.add(order.map(Double.init))
        return bits.bytes
    }

    func workWhileStopping() throws {
        _ = try order(epoch: 0, rows: 10, length: 10, stopping: true)
    }

    func fuzz(_ dice: inout Dice) throws -> [UInt8] {
        let rows = 1 + dice.below(500)
        let order = try order(epoch: dice.below(1000), rows: rows, length: 1 + dice.below(2 * rows))
        if dice.below(2) == 0 { try feedback(Array(order.prefix(dice.below(order.count + 1)))) }
        var bits = Bits()
        bits.add(order.map(Double.init))
        return bits.bytes
    }
}
