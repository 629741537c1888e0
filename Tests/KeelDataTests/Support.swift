import Glibc
import KeelCore
import KeelText

@testable import KeelData

/// A folder that goes away with its owner.
final class Folder {
    let path: String

    init() throws {
        path = Files.join("/tmp", "keel-data-\(getpid())-\(UInt64.random(in: 0 ... .max))")
        try Files.makeDirectory(path)
    }

    deinit { try? Files.remove(path) }

    func write(_ name: String, _ text: String) throws -> String {
        let file = Files.join(path, name)
        try AtomicWrite.file(file, text)
        return file
    }
}

enum Fixture {
    static let root = Files.parent(Files.parent(Files.parent(#filePath)))
    /// Byte-fallback BPE with BOS: a trained tokenizer of 4,003 tokens.
    static let llama2 = Files.join(root, "Tests/Fixtures/tokenizers/llama2_style")
    static let qwen2 = Files.join(root, "Tests/Fixtures/tokenizers/qwen2_style")
    static let smollm = Files.join(root, "Tests/Fixtures/tokenizers/smollm_style")
    static let shared = Files.join(root, "../shared")
}

/// The text of every error that loading gives.
func errors(of path: String, wanted: RowKind, columns: [String: String] = [:]) -> [KeelError] {
    do {
        _ = try Dataset.load(path: path, wanted: wanted, columns: columns)
        return []
    } catch let all as KeelErrors {
        return all.errors
    } catch let one as KeelError {
        return [one]
    } catch {
        return [KeelError("test", "\(error)")]
    }
}
