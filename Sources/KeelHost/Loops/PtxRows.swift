import KeelBridge
import KeelCore
import KeelData
import KeelModel
import KeelTensor
import KeelText

/// Pre-training text in online training (PPO-ptx): its likelihood is part of every step.
///
///     L += ptx_coef · mean over tokens of -log p        of ptx_batch_size rows, another draw at each step
///
/// Ouyang et al. 2022, InstructGPT, equation 2. Rows are drawn epoch by epoch in an order that follows from the
/// seed and the step's number, so there is no state to save.
final class PtxRows {
    private let rows: TokenizedRows
    private let coef: Double
    private let order: EpochOrder
    private let seed: UInt64
    private let microBatchRows: Int

    /// nil where the config has no such data.
    ///
    /// - Throws: `KeelError` for data without a weight, a weight without data, or rows that cannot be read.
    init?(
        _ config: RunConfig, _ component: Component, _ tokenizer: Tokenizer, policy: Model
    ) throws {
        coef = config.train.ptxCoef
        guard let path = config.data.ptx else {
            guard coef == 0 else {
                throw KeelError(
                    "config", "train.ptx_coef is \(coef), but there is no data.ptx",
                    at: config.places.place(of: "train.ptx_coef"),
                    fix: "name a file of texts in data.ptx", code: .config)
            }
            return nil
        }
        guard coef > 0 else {
            throw KeelError(
                "config", "data.ptx is there, but train.ptx_coef is 0: it would not be used",
                at: config.places.place(of: "data.ptx"),
                fix: "set train.ptx_coef, or remove data.ptx", code: .config)
        }
        var own = config
        own.data.train = path
        own.data.valid = nil
        let data = try RunData(own, kind: "text", component: component, tokenizer: tokenizer)
        try data.check(fits: policy, room: 0)
        rows = data.train.tokens.rows
        seed = UInt64(config.train.seed)
        microBatchRows = config.train.perDeviceTrainBatchSize
        order = EpochOrder(
            rowCount: rows.count,
            rowsPerStep: min(rows.count, config.train.ptxBatchSize ?? microBatchRows))
    }

    /// The rows of a step.
    func rows(of step: Int) -> [TokenizedRow] {
        let stream = RandomStream(seed: seed, place: "ptx/\(order.epoch(of: step))")
        let keys = rows.indices.map { stream.uniform(UInt64($0)) }
        let shuffled = rows.indices.sorted { (keys[$0], $0) < (keys[$1], $1) }
        return order.positions(of: step).map { rows[shuffled[$0]] }
    }

    /// Adds the gradient of its part of a step's loss to the policy's.
    ///
    /// - Returns: the token mean of -log p, before the weight.
    func addGradient(to policy: Model, step: Int) throws -> Double {
        let all = rows(of: step)
        let targets = all.reduce(0) { $0 + $1.trained.count { $0 } }
        var sum = 0.0
        for start in stride(from: 0, to: all.count, by: microBatchRows) {
            let part = Array(all[start..<min(start + microBatchRows, all.count)])
            let tape = Tape(recording: true)
            let scores = try policy.outputs(PackedBatch(Packing(part)), Wanted(), tape: tape)
            // Tokens that data.train_on leaves out (a user's turns) stand in the text, and train nothing.
            let seeds = part.flatMap(\.trained).map { $0 ? -coef / Double(targets) : 0 }
            sum -= zip(scores.logprobs.doubles(), seeds).reduce(0) { $0 + ($1.1 == 0 ? 0 : $1.0) }
            tape.backward([
                (
                    scores.logprobs,
                    Tensor(
                        seeds, shape: scores.logprobs.shape, dtype: scores.logprobs.dtype,
                        device: policy.device)
                )
            ])
        }
        return sum / Double(max(1, targets))
    }
}
