import KeelBridge
import KeelCore
import KeelData
import KeelModel
import KeelTensor
import KeelText

/// What a model answers to the prompts of a data file, and what that is worth.
struct ModelAnswers {
    let source: ModelSource
    let model: Model
    private let tokenizer: Tokenizer
    /// How the model's folder, or the config, makes texts of messages.
    private let conversation: Conversation
    /// In the order of the prompts, several for each.
    private(set) var samples: [Sample] = []
    private(set) var scored: RewardSet.Scored?

    /// Loads a model and what belongs to it.
    ///
    /// - Throws: `KeelError` for folders that cannot be read.
    init(_ source: ModelSource, _ config: RunConfig, dtype: DType, device: Device) throws {
        self.source = source
        tokenizer = try Tokenizer.load(directory: source.textFolder)
        conversation = Conversation(
            try ChatTemplate.load(
                directory: source.textFolder, tokenizer: tokenizer, file: config.data.chatTemplate),
            tokenizer: tokenizer, trained: .assistant)
        model = try source.load(dtype: dtype, device: device)
    }

    /// The prompts of a data file as the model reads them; rows without room for an answer are left out.
    ///
    /// - Throws: `KeelError` or `KeelErrors` (badData) for rows that are no prompts.
    func prompts(_ path: String, rows: Int?, _ config: RunConfig) throws -> [Prompt] {
        let dataset = try Dataset.load(
            path: path, wanted: .prompt, columns: config.data.renames,
            layout: RowLayout(config.data.type), conversation: conversation)
        let tokens = try TokenizedDataset.tokenize(
            dataset, tokenizer: tokenizer,
            limits: LengthLimits(maxLength: model.contextLength - 1), cacheDirectory: nil)
        if tokens.counts.dropped > 0 {
            Log.warning(
                "\(source.name): \(tokens.counts.dropped) prompts leave no room for an answer; they are left out"
            )
        }
        return tokens.rows.filter { $0.index < rows ?? .max }.map { Prompt($0, of: dataset) }
    }

    /// The answers that the data file itself holds; nil where it holds none.
    func answers(_ path: String, rows: Int?, _ config: RunConfig) throws -> DataAnswers? {
        try DataAnswers(
            path, rows: rows, config: config.data, conversation: conversation, tokenizer: tokenizer,
            context: model.contextLength)
    }

    /// Completes the prompts, and lets the rewards judge.
    ///
    /// - Parameter count: completions of each prompt.
    /// - Throws: what generation and rewards throw.
    mutating func complete(
        _ prompts: [Prompt], count: Int, _ config: RunConfig, sampler: any TokenSampling,
        maxNewTokens: Int, seed: UInt64, rewards: RewardSet?, progress: Progress?
    ) throws {
        let sampling = Sampling(
            config.sampler, model: model, tokenizer: tokenizer, sampler: sampler,
            maxNewTokens: maxNewTokens, seed: seed)
        var done = 0
        progress?.begin(Files.name(source.name), total: prompts.count * count)
        samples = try sampling.generate(
            prompts, samplesPerPrompt: count, stream: 0, place: "evaluate",
            finished: { _, _ in
                done += 1
                progress?.step(done)
            })
        progress?.end()
        scored = try rewards?.score(
            samples, group: samples.indices.map { Int32($0 / count) }, purpose: .evaluation,
            context: CallContext())
    }

    /// Of each completion, sum_t log pi_model - log pi_other of what the model drew, in nats.
    ///
    /// Its mean is an unbiased estimate of the sequence KL at the sampling temperature.
    ///
    /// - Throws: what a model's pass throws.
    func logRatios(to other: Model, temperature: Double) throws -> [Double] {
        let rows = samples.map {
            TokenizedRow(index: $0.prompt.row, prompt: $0.prompt.tokens, completions: [$0.tokens])
        }
        let own = try SequenceScorer(model: model, temperature: temperature).logprobs(rows)
        let others = try SequenceScorer(model: other, temperature: temperature).logprobs(rows)
        return zip(own, others).map { own, other in
            zip(own, other).reduce(0.0) { $0 + Double($1.0) - Double($1.1) }
        }
    }

    /// Whether another model reads the same prompts as the same ids, so that it can be asked about these completions.
    func readsAlike(_ other: ModelAnswers, _ prompts: [Prompt], _ theirs: [Prompt]) -> Bool {
        tokenizer.contentHash == other.tokenizer.contentHash
            || prompts.map(\.tokens) == theirs.map(\.tokens)
                && model.vocabularySize == other.model.vocabularySize
    }
}

/// Draws from the model's own distribution.
final class PlainSampling: TokenSampling {
    func sample(_ step: inout SamplingStep) throws -> [Int32] {
        [Int32](repeating: -1, count: step.rowIDs.count)
    }
}
