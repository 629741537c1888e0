import Foundation
import KeelCore
import Synchronization
import Testing

@Suite struct SHA256Tests {
    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
    ])
    func publishedDigests(text: String, digest: String) {
        #expect(SHA256.hex(text) == digest)
    }

    @Test func piecesEqualTheWhole() {
        let text = String(repeating: "keel and hull ", count: 40)
        var hash = SHA256()
        for character in text { hash.update(String(character)) }
        #expect(hash.hex() == SHA256.hex(text))
    }
}

@Suite struct RandomStreamTests {
    @Test func valuesArePureAndPlacesIndependent() {
        let a = RandomStream(seed: 7, place: "generate", 3, 11)
        let b = RandomStream(seed: 7, place: "generate", 3, 11)
        let others = [
            RandomStream(seed: 8, place: "generate", 3, 11),
            RandomStream(seed: 7, place: "order", 3, 11),
            RandomStream(seed: 7, place: "generate", 11, 3),
            RandomStream(seed: 7, place: "generate", 3, 12),
        ]
        for n in 0..<64 as Range<UInt64> {
            #expect(a.bits(n) == b.bits(n))
            for other in others { #expect(a.bits(n) != other.bits(n)) }
        }
    }

    @Test func momentsAreThoseOfTheDistributions() {
        let stream = RandomStream(seed: 1, place: "test")
        let count = 200_000
        let uniform = (0..<count).map { stream.uniform(UInt64($0)) }
        let normal = (0..<count).map { stream.normal(UInt64($0)) }
        let mean = { (x: [Double]) in x.reduce(0, +) / Double(x.count) }
        // Five standard errors of each moment.
        #expect(abs(mean(uniform) - 0.5) < 5 * 0.2887 / Double(count).squareRoot())
        #expect(abs(mean(normal)) < 5 / Double(count).squareRoot())
        #expect(abs(mean(normal.map { $0 * $0 }) - 1) < 5 * 1.4143 / Double(count).squareRoot())
        #expect(uniform.allSatisfy { $0 >= 0 && $0 < 1 })
    }
}

@Suite struct ThreadPoolTests {
    @Test(arguments: [1, 2, 3, 8])
    func everyTileRunsOnce(threads: Int) {
        let pool = ThreadPool(threads: threads)
        for count in [0, 1, 2, 7, 1000] {
            for _ in 0..<20 {
                let seen = Guarded([Int](repeating: 0, count: count))
                pool.parallelFor(count) { tile in seen.withLock { $0[tile] += 1 } }
                #expect(seen.withLock { $0.allSatisfy { $0 == 1 } })
            }
        }
    }

    /// Tile 0 ends when all others have: those that its thread had before it, too.
    @Test(arguments: [2, 3])
    func whoIsDoneTakesTilesOfOthers(threads: Int) {
        let pool = ThreadPool(threads: threads)
        let others = Atomic<Int>(0)
        let deadline = ContinuousClock.now + .seconds(60)
        pool.parallelFor(9) { tile in
            guard tile == 0 else {
                others.add(1, ordering: .relaxed)
                return
            }
            while others.load(ordering: .relaxed) < 8, ContinuousClock.now < deadline {
                sched_yield()
            }
            #expect(others.load(ordering: .relaxed) == 8)
        }
    }

    @Test func nestedCallsRunSerially() {
        let pool = ThreadPool(threads: 2)
        let total = Atomic<Int>(0)
        pool.parallelFor(4) { _ in pool.parallelFor(5) { _ in total.add(1, ordering: .relaxed) } }
        #expect(total.load(ordering: .relaxed) == 20)
    }
}

@Suite struct FilesTests {
    @Test func atomicWritesAreWholeOrAbsent() throws {
        let folder = NSTemporaryDirectory() + "keel-files-\(UUID().uuidString)"
        try Files.makeDirectory(folder + "/a/b")
        defer { try? Files.remove(folder) }
        try AtomicWrite.file(folder + "/a/x", "one")
        #expect(throws: KeelError.self) {
            try AtomicWrite.file(folder + "/a/x") { file in
                try file.write("two")
                throw KeelError("test", "stop")
            }
        }
        #expect(try Files.readText(folder + "/a/x") == "one")
        #expect(try Files.list(folder + "/a") == ["b", "x"])
        #expect(throws: KeelError.self) {
            try AtomicWrite.directory(folder + "/c") { path in
                try AtomicWrite.file(path + "/y", "three")
                throw KeelError("test", "stop")
            }
        }
        #expect(try Files.list(folder) == ["a"])
        try AtomicWrite.directory(folder + "/c") { try AtomicWrite.file($0 + "/y", "three") }
        try AtomicWrite.directory(folder + "/c") { try AtomicWrite.file($0 + "/z", "four") }
        #expect(try Files.list(folder + "/c") == ["z"])
        #expect(try Files.list(folder) == ["a", "c"])
    }

    /// Whoever looks while a folder is replaced finds the older or the newer one.
    @Test func aReplacedFolderIsNeverAbsent() throws {
        let folder = NSTemporaryDirectory() + "keel-files-\(UUID().uuidString)"
        defer { try? Files.remove(folder) }
        try AtomicWrite.directory(folder + "/c") { try AtomicWrite.file($0 + "/y", "0") }
        let isDone = Atomic(false)
        let absent = Atomic(0)
        let watcher = Thread {
            while !isDone.load(ordering: .relaxed) {
                if !Files.exists(folder + "/c/y") { absent.add(1, ordering: .relaxed) }
            }
            isDone.store(false, ordering: .releasing)
        }
        watcher.start()
        for i in 1...200 {
            try AtomicWrite.directory(folder + "/c") { try AtomicWrite.file($0 + "/y", "\(i)") }
        }
        isDone.store(true, ordering: .relaxed)
        while isDone.load(ordering: .acquiring) { usleep(1000) }
        #expect(absent.load(ordering: .relaxed) == 0)
        #expect(try Files.list(folder) == ["c"])
    }

    @Test func pathsAreJoinedAndCut() {
        #expect(Files.join("a/", "b") == "a/b")
        #expect(Files.join("a", "/b") == "/b")
        #expect(Files.parent("/a/b/") == "/a")
        #expect(Files.parent("b") == "")
        #expect(Files.name("/a/b/") == "b")
        #expect(Files.absolute("/a/./b/../c") == "/a/c")
    }

    @Test func missingFilesSayWhich() {
        #expect {
            try Files.read("/nowhere/at-all")
        } throws: { error in
            (error as? KeelError)?.code == .noInput
                && (error as? KeelError)?.at == "/nowhere/at-all"
        }
    }

    @Test func aFullDiskIsAnErrorWithoutLeftovers() throws {
        #expect(throws: KeelError.self) {
            let file = try OutputFile(path: "/dev/full", mode: .append)
            try file.write("x")
            try file.flush()
        }
    }
}

@Suite struct NearestTests {
    @Test(arguments: [
        ("learnin_rate", "learning_rate"), ("bata", "beta"), ("refrence", "reference"),
    ])
    func misspeltNamesFindTheirOwn(wrong: String, right: String) {
        #expect(
            nearest(wrong, among: ["learning_rate", "beta", "reference", "warmup_steps"]) == right)
    }

    @Test func strangersFindNothing() {
        #expect(nearest("zzzzzz", among: ["learning_rate", "beta"]) == nil)
    }
}
