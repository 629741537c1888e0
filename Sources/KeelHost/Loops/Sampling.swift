import KeelBridge
import KeelCore
import KeelData
import KeelModel
import KeelTensor
import KeelText

/// A prompt to complete.
struct Prompt {
    /// The row's permanent id.
    var row: Int
    var tokens: [Int32]
    /// The data set row, which rewards may look at.
    var json: JSON
    /// What rewards read; nil: the row's "prompt", else the tokens' text.
    var text: String? = nil
}

extension Prompt {
    /// The prompt of a row of a data set.
    init(_ row: TokenizedRow, of rows: Dataset) {
        self.init(
            row: row.index, tokens: row.prompt, json: rows.row(row.index),
            text: rows.spokenPrompt(row.index))
    }
}

/// A completion of a prompt, as the policy sampled it.
struct Sample {
    var prompt: Prompt
    var promptText: String
    /// Up to the stop string, where one ended it.
    var text: String
    /// All that was drawn, the token that ended it too.
    var tokens: [Int32]
    /// Under the policy at the sampling temperature, before the sampler's editing.
    var logprobs: [Float]
    /// After the editing.
    var behaviorLogprobs: [Float]
    var finishReason: FinishReason

    /// The response ended itself, with an end-of-text token or a stop string.
    var isFinished: Bool { finishReason != .length }
}

/// Generation as a run does it: the model being trained, the configured sampler, counter-based draws.
struct Sampling {
    private(set) var model: Model
    let tokenizer: Tokenizer
    let sampler: any TokenSampling
    let temperature: Double
    let maxNewTokens: Int
    let seed: UInt64
    /// Texts that end a completion.
    var stop: [String] = []
    var minNewTokens = 0
    /// Completions decoded at once.
    var batchSize = 32
    /// The likeliest token each time, instead of what the sampler draws.
    var isGreedy = false
    /// Tokens of the cache; nil = as many as are needed.
    var cacheTokens: Int?

    /// What the config's section `sampler` says.
    init(
        _ config: SamplerConfig, model: Model, tokenizer: Tokenizer, sampler: any TokenSampling,
        maxNewTokens: Int, seed: UInt64
    ) {
        self.model = model
        self.tokenizer = tokenizer
        self.sampler = sampler
        self.maxNewTokens = maxNewTokens
        self.seed = seed
        temperature = config.temperature
        stop = config.stop
        minNewTokens = min(config.minNewTokens, maxNewTokens)
        batchSize = config.batchSize
        cacheTokens = config.cacheTokens
    }

    /// The same of another model.
    func of(_ model: Model) -> Sampling {
        var other = self
        other.model = model
        return other
    }

    /// Completions in the order of prompts, `samplesPerPrompt` for each.
    ///
    /// The draws of a sample depend on seed, place, stream, row and its number in the group only, so
    /// its text does not depend on its neighbours.
    ///
    /// - Parameters:
    ///   - finished: told about each completion as it ends: its number and what it is.
    ///   - between: called between two passes, when all that have ended were told of.
    func generate(
        _ prompts: [Prompt], samplesPerPrompt: Int, stream: UInt64, place: String,
        finished: (Int, Sample) throws -> Void = { _, _ in }, between: () throws -> Void = {}
    ) throws -> [Sample] {
        let requests = prompts.flatMap { prompt in
            (0..<samplesPerPrompt).map { number in
                GenerationRequest(
                    prompt: prompt.tokens, rowID: UInt64(prompt.row * samplesPerPrompt + number))
            }
        }
        var settings = GenerationSettings(
            maxNewTokens: maxNewTokens, eosIDs: model.endIDs(tokenizer))
        settings.minNewTokens = minNewTokens
        settings.batchSize = batchSize
        settings.cacheTokens = cacheTokens
        settings.temperature = temperature
        settings.seed = seed
        settings.place = place
        settings.step = stream
        let stops = StopStrings(stop, tokenizer)
        let generator = Generator(
            model, settings, sampler: isGreedy ? ArgmaxSampling() : sampler,
            ending: stops.isEmpty ? nil : stops)
        let texts = try prompts.map { prompt in
            try prompt.text ?? prompt.json["prompt"]?.string
                ?? tokenizer.decode(prompt.tokens, skipSpecial: true)
        }
        var samples = [Sample?](repeating: nil, count: requests.count)
        var failure: (any Error)?
        _ = try generator.run(
            requests,
            finished: { index, completion in
                let prompt = index / samplesPerPrompt
                let sample = Sample(
                    prompt: prompts[prompt], promptText: texts[prompt],
                    text: try StopStrings.text(of: completion, tokenizer),
                    tokens: completion.ids, logprobs: completion.logprobs,
                    behaviorLogprobs: completion.behaviourLogprobs,
                    finishReason: completion.finishReason)
                samples[index] = sample
                try finished(index, sample)
            },
            shouldContinue: {
                do {
                    try between()
                    return true
                } catch {
                    failure = error
                    return false
                }
            })
        if let failure { throw failure }
        return samples.compactMap { $0 }
    }
}

extension Model {
    /// The ids that end its texts: those its folder names, and its tokenizer's end-of-text token.
    func endIDs(_ tokenizer: Tokenizer?) -> [Int32] {
        guard let id = tokenizer?.eosID, Int(id) < vocabularySize, !eosIDs.contains(id) else {
            return eosIDs
        }
        return eosIDs + [id]
    }
}
