import KeelCore
import KeelModel
import KeelText

/// `keel model export`.
extension ModelCommand {
    /// Writes a model folder as one GGUF file: weights, tokenizer and chat template.
    ///
    /// - Parameters:
    ///   - out: the new file; one that is there is replaced when the new one is whole.
    ///   - dtype: "f32", "f16" or "bf16"; nil = as most of the model is stored.
    /// - Throws: `KeelError` for a model or tokenizer that llama.cpp has no words for; then `out` is as it was.
    package static func export(_ folder: String, gguf out: String, dtype: String?) throws {
        let type = try dtype.map { name in
            guard let type = GGUFFile.CellType(rawValue: name) else {
                throw KeelError(
                    "model", "unknown type \"\(name)\"", at: "--dtype",
                    fix: "use f32, f16 or bf16", code: .usage)
            }
            return type
        }
        if Files.isDirectory(out) {
            throw KeelError(
                "model", "the new file's name is a folder", at: out, fix: "name a file",
                code: .cannotCreate)
        }
        let directory = try ModelDirectory(folder)
        var export = try GGUFExport(directory, type: type)
        var file = try export.file(name: Files.name(Files.absolute(folder)))
        var vocabulary = try GGUFVocabulary(
            directory: folder, tokenizer: try Tokenizer.load(directory: folder),
            size: directory.architecture.vocabularySize)
        try vocabulary.describe(&file)
        for note in export.notes + vocabulary.notes { Log.warning(note) }
        try file.write(out)
    }
}
