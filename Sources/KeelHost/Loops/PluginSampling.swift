import KeelBridge
import KeelModel

/// A token sampler plugin as the generator asks for it.
final class PluginSampling: TokenSampling {
    private let sampler: TokenSamplerInstance

    init(_ sampler: TokenSamplerInstance) {
        self.sampler = sampler
    }

    func sample(_ step: inout SamplingStep) throws -> [Int32] {
        let sequences = step.rowIDs.indices.map { row in
            TokenSamplerInstance.Sequence(
                id: step.rowIDs[row], tokens: step.contexts[row],
                promptLength: step.promptLengths[row])
        }
        for row in step.states.indices where step.states[row].isEmpty {
            step.states[row] = [UInt8](repeating: 0, count: sampler.sequenceBytes)
        }
        return try sampler.sample(
            logits: &step.logits, vocabulary: step.vocabulary, sequences: sequences,
            states: &step.states, context: PluginSampling.context(step))
    }

    /// What the plugin may ask of the run, as far as a generation knows it.
    private static func context(_ step: SamplingStep) -> CallContext {
        let settings = step.settings
        return CallContext(
            step: Int(clamping: settings.step),
            facts: [
                "vocab_size": Double(step.vocabulary),
                "eos_token_id": settings.eosIDs.first.map(Double.init) ?? .nan,
                "temperature": settings.temperature,
                "max_completion_length": Double(settings.maxNewTokens),
            ])
    }
}
