import KeelBridge
import KeelCore
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
}

/// A completion of a prompt, as the policy sampled it.
struct Sample {
    var prompt: Prompt
    var promptText: String
    var text: String
    var tokens: [Int32]
    /// Under the policy at the sampling temperature, before the sampler's editing.
    var logprobs: [Float]
    /// After the editing.
    var behaviorLogprobs: [Float]
    /// The response ended itself (with an end-of-text token).
    var isFinished: Bool
}

/// Generation as a run does it: the model being trained, the configured sampler, counter-based draws.
struct Sampling {
    let model: Model
    let tokenizer: Tokenizer
    let sampler: TokenSamplerInstance
    let temperature: Double
    let maxNewTokens: Int
    let seed: UInt64

    /// Completions in the order of prompts, `samplesPerPrompt` for each.
    ///
    /// The draws of a sample depend on seed, place, stream, row and its number in the group only, so
    /// its text does not depend on its neighbours.
    func generate(
        _ prompts: [Prompt], samplesPerPrompt: Int, stream: UInt64, place: String
    ) throws -> [Sample] {
        let requests = prompts.flatMap { prompt in
            (0..<samplesPerPrompt).map { number in
                GenerationRequest(
                    prompt: prompt.tokens, rowID: UInt64(prompt.row * samplesPerPrompt + number))
            }
        }
        var settings = GenerationSettings(maxNewTokens: maxNewTokens, eosIDs: model.eosIDs)
        settings.temperature = temperature
        settings.seed = seed
        settings.place = place
        settings.step = stream
        let generator = Generator(model, settings, sampler: PluginSampling(sampler))
        return try generator.run(requests).enumerated().compactMap { index, completion in
            guard let completion else { return nil }
            let prompt = prompts[index / samplesPerPrompt]
            let text =
                try prompt.json["prompt"]?.string
                ?? tokenizer.decode(prompt.tokens, skipSpecial: true)
            return Sample(
                prompt: prompt, promptText: text,
                text: try tokenizer.decode(completion.ids, skipSpecial: true),
                tokens: completion.ids, logprobs: completion.logprobs,
                behaviorLogprobs: completion.behaviourLogprobs,
                isFinished: completion.finishReason == .eos)
        }
    }
}
